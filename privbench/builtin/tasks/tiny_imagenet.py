"""Tiny-ImageNet, from its unpacked folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import component, option
from privbench.builtin.models import ModelName
from privbench.builtin.tasks import presets as published
from privbench.builtin.tasks.downloads import DownloadedTask, Extent
from privbench.data import ImageFiles, Part, Source

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "tiny-imagenet-200"


@component
class TinyImageNet(DownloadedTask):
    """Tiny-ImageNet: 100,000 + 10,000 colour images of 64x64 pixels, 200 classes; the labelled val part is the test."""

    name: ClassVar[str] = "tiny-imagenet"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"hivit": published.HIVIT, "cutout": {"cutout": 8}}
    size: ClassVar[str] = "480 MB"
    extent: ClassVar[Extent] = Extent(100_000, 10_000, (64, 64, 3), 200)
    by_hand: ClassVar[str | None] = (
        "download tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack it in {root}"
    )

    model: ModelName = option("resnet18", "architecture")
    epochs: int = option(100, "passes over the training examples", ge=1)
    batch_size: int = option(256, "examples per step", ge=1)
    warmup: float = option(1.0, "epochs of linear warm-up", ge=0)
    crop: int = option(4, "random crop per example: pixels of reflect padding (0: off)", ge=0)
    flip: float = option(0.5, "probability of a horizontal flip per example", ge=0, le=1)

    @classmethod
    def wanted(cls) -> list[str]:
        """Return the required files and folders, relative to the data root."""
        return [f"{FOLDER}/{name}" for name in ("train", "val/images", "val/val_annotations.txt")]

    def source(self) -> Source:
        """List the files of train/<class>/images and of val/val_annotations.txt; they are read on demand."""
        root = self.folder()
        home = root / FOLDER
        classes = sorted(folder.name for folder in (home / "train").iterdir() if folder.is_dir())
        number = {name: i for i, name in enumerate(classes)}
        train = [
            (path, i)
            for name, i in number.items()
            for path in sorted((home / "train" / name / "images").glob("*.JPEG"))
        ]
        annotations = home / "val" / "val_annotations.txt"
        test = []
        for line in annotations.read_text(encoding="utf-8").splitlines():
            name, _, rest = line.partition("\t")
            wnid = rest.partition("\t")[0]
            if wnid not in number:
                raise self.damaged(
                    annotations, f"gives {name or 'a line'} the class {wnid!r}, which train/ does not have"
                )
            test.append((home / "val" / "images" / name, number[wnid]))
        return Source(self._part(train, root), self._part(test, root), len(classes), self.name)

    def _part(self, files: list[tuple[Path, int]], root: Path) -> Part:
        x = ImageFiles([path for path, _ in files], self.name, cache=root / "decoded")
        return Part(x, np.array([label for _, label in files], dtype=np.int64))
