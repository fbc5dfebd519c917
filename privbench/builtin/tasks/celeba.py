"""CelebA with one of its attributes as the label, from the files that torchvision downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import component, option
from privbench.builtin.models import ModelName
from privbench.builtin.tasks.downloads import DownloadedTask, Files
from privbench.data import ImageFiles, Part, Source
from privbench.errors import BadOption, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

CROP, SIZE = 128, 48
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
TEST = 2


@component
class CelebA(DownloadedTask):
    """CelebA: 182,637 + 19,962 faces, centre-cropped to 128 and resized to 48x48 pixels; one attribute is the label.

    The crop is that of Triastcyn & Faltings (2018). The official validation part is added to the training part, from
    which privbench draws its own. All of it takes 1.4 GB of memory: use `limit` for less.
    """

    name: ClassVar[str] = "celeba"
    size: ClassVar[str] = "1.8 GB"

    attribute: str = option("Smiling", "the attribute, of 40, that is the label, such as Male or Young")
    model: ModelName = option("cnn", "architecture")
    epochs: int = option(20, "passes over the training examples", ge=1)
    batch_size: int = option(128, "examples per step", ge=1)
    lr: float = option(0.05, "peak learning rate", gt=0)
    flip: float = option(0.5, "probability of a horizontal flip per example", ge=0, le=1)

    @classmethod
    def wanted(cls) -> list[str]:
        """Return the required files and folders, relative to the data root."""
        return [f"celeba/{name}" for name in (ATTRIBUTES, PARTITION, "img_align_celeba")]

    @classmethod
    def elsewhere(cls) -> Files:
        """Return the archive of images and the two files of labels."""
        from torchvision.datasets import CelebA as Known

        wanted = {"img_align_celeba.zip", ATTRIBUTES, PARTITION}
        address = "https://drive.google.com/uc?id="
        return Files([f"{address}{key} ({name})" for key, _, name in Known.file_list if name in wanted], "celeba", True)

    @classmethod
    def download(cls, root: Path) -> None:
        """Download and unpack images and labels, which Google Drive refuses on busy days."""
        from torchvision.datasets import CelebA as Known

        Known(str(root), split="all", download=True)

    def source(self) -> Source:
        """Read the labels; the images are read on demand."""
        from torchvision.datasets import CelebA as Known

        root = self.folder()
        md5 = {name: checksum for _, checksum, name in Known.file_list}
        _, names, *rows = self._lines(root, ATTRIBUTES, md5)
        if self.attribute not in names:
            raise BadOption(
                f"celeba: no attribute {self.attribute!r}.{did_you_mean(self.attribute, names)} "
                f"Attributes: {', '.join(names)}."
            )
        column = names.index(self.attribute)
        label = {row[0]: int(row[1:][column] == "1") for row in rows}
        part = {row[0]: int(row[1]) for row in self._lines(root, PARTITION, md5)}
        parts = [[name for name in label if (part.get(name) == TEST) is test] for test in (False, True)]
        train, test = (
            Part(
                ImageFiles(
                    [root / "celeba" / "img_align_celeba" / name for name in chosen],
                    self.name,
                    crop=CROP,
                    size=SIZE,
                    cache=root / "decoded",
                ),
                np.array([label[name] for name in chosen], dtype=np.int64),
            )
            for chosen in parts
        )
        return Source(train, test, 2, self.name)

    def _lines(self, root: Path, name: str, md5: dict[str, str]) -> list[list[str]]:
        path = self.checked(root / "celeba" / name, md5[name])
        return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
