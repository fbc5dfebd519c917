"""Data sets: labelled examples with four disjoint roles, canaries, and files of arrays, tables and images."""

from privbench.data.arrays import read, same_kind
from privbench.data.canaries import plant
from privbench.data.dataset import ROLES, Dataset, Examples, concatenate
from privbench.data.duplicates import duplicated
from privbench.data.folders import folder, numbered
from privbench.data.images import ImageFiles
from privbench.data.imported import IMPORTED, data_root, imported, to_import
from privbench.data.source import Part, Source, check
from privbench.store.reading import home, is_file, is_folder

__all__ = [
    "IMPORTED",
    "ROLES",
    "Dataset",
    "Examples",
    "ImageFiles",
    "Part",
    "Source",
    "check",
    "concatenate",
    "data_root",
    "duplicated",
    "folder",
    "home",
    "imported",
    "is_file",
    "is_folder",
    "numbered",
    "plant",
    "read",
    "same_kind",
    "to_import",
]
