"""SVHN, from the MATLAB files that torchvision downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import component, option
from privbench.builtin.models import ModelName
from privbench.builtin.tasks.downloads import DownloadedTask, Extent, Files
from privbench.data import Part, Source

if TYPE_CHECKING:
    from pathlib import Path


@component
class Svhn(DownloadedTask):
    """SVHN: 73,257 + 26,032 colour images of 32x32 pixels, house numbers, 10 classes."""

    name: ClassVar[str] = "svhn"
    size: ClassVar[str] = "250 MB"
    extent: ClassVar[Extent] = Extent(73_257, 26_032, (32, 32, 3), 10)

    model: ModelName = option("mobilenet_v3_small", "architecture")
    batch_size: int = option(256, "examples per step", ge=1)
    crop: int = option(4, "random crop per example: pixels of reflect padding (0: off)", ge=0)

    @classmethod
    def wanted(cls) -> list[str]:
        """Return the required files, relative to the data root."""
        return ["train_32x32.mat", "test_32x32.mat"]

    @classmethod
    def elsewhere(cls) -> Files:
        """Return the two files."""
        from torchvision.datasets import SVHN

        return Files([SVHN.split_list[part][0] for part in ("train", "test")], "", False)

    @classmethod
    def download(cls, root: Path) -> None:
        """Download the training and test files."""
        from torchvision.datasets import SVHN
        from torchvision.datasets.utils import download_url

        for part in ("train", "test"):
            url, name, md5 = SVHN.split_list[part]
            download_url(url, str(root), name, md5)

    def source(self) -> Source:
        """Read the official training and test sets."""
        root = self.folder()
        return Source(self._read(root, "train"), self._read(root, "test"), 10, self.name)

    def _read(self, root: Path, part: str) -> Part:
        from scipy.io import loadmat
        from torchvision.datasets import SVHN

        _, name, md5 = SVHN.split_list[part]
        path = self.checked(root / name, md5)
        try:
            content = loadmat(str(path), variable_names=["X", "y"])
            x, y = np.moveaxis(content["X"], -1, 0), content["y"].ravel().astype(np.int64)
        except Exception:  # noqa: BLE001 - damaged files make SciPy raise almost anything
            raise self.damaged(path, "is no SVHN file") from None
        return Part(np.ascontiguousarray(x), y % 10)  # digit 0 is class 10 in the files
