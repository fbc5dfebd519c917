"""MNIST and Fashion-MNIST, from the IDX files that torchvision downloads."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import component, option
from privbench.builtin.models import ModelName
from privbench.builtin.tasks.downloads import DownloadedTask, Extent, Files
from privbench.builtin.tasks.presets import DAE
from privbench.data import Part, Source

if TYPE_CHECKING:
    from pathlib import Path

    from privbench.aliases import Array

PARTS = ("train", "t10k")
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
UNSIGNED_BYTES = 8  # IDX's code of the type


@component
class Mnist(DownloadedTask):
    """MNIST: 60,000 + 10,000 grey images of 28x28 pixels, handwritten digits, 10 classes."""

    name: ClassVar[str] = "mnist"
    size: ClassVar[str] = "11 MB"
    extent: ClassVar[Extent] = Extent(60_000, 10_000, (28, 28, 1), 10)
    folder_name: ClassVar[str] = "MNIST"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dae": DAE}

    model: ModelName = option("cnn", "architecture")
    epochs: int = option(20, "passes over the training examples", ge=1)
    batch_size: int = option(128, "examples per step", ge=1)
    lr: float = option(0.05, "peak learning rate", gt=0)

    @classmethod
    def wanted(cls) -> list[str]:
        """Return the required files, relative to the data root."""
        return [f"{cls.folder_name}/raw/{part}-{kind}.gz" for part in PARTS for kind in (IMAGES, LABELS)]

    @classmethod
    def missing(cls, root: Path) -> list[str]:
        """Return the missing files; one that was unpacked and deleted counts as present."""
        return [name for name in super().missing(root) if not (root / name.removesuffix(".gz")).exists()]

    @classmethod
    def elsewhere(cls) -> Files:
        """Return the four archives at the first mirror, which need no unpacking."""
        import torchvision.datasets

        known = getattr(torchvision.datasets, cls.folder_name)
        return Files([f"{known.mirrors[0]}{name}" for name, _ in known.resources], f"{cls.folder_name}/raw", False)

    @classmethod
    def download(cls, root: Path) -> None:
        """Download and unpack the four files, from the first mirror that answers."""
        import torchvision.datasets
        from torchvision.datasets.utils import download_and_extract_archive

        known = getattr(torchvision.datasets, cls.folder_name)
        raw = str(root / cls.folder_name / "raw")
        for name, md5 in known.resources:
            for last, mirror in zip((*(len(known.mirrors) - 1) * [False], True), known.mirrors, strict=True):
                try:
                    download_and_extract_archive(f"{mirror}{name}", raw, filename=name, md5=md5)
                    break
                except OSError:
                    if last:
                        raise

    def source(self) -> Source:
        """Read the official training and test sets."""
        raw = self.folder() / self.folder_name / "raw"
        train, test = (
            Part(self._read(raw / f"{p}-{IMAGES}", 3)[..., None], self._read(raw / f"{p}-{LABELS}", 1)) for p in PARTS
        )
        return Source(train, test, 10, self.name)

    def _read(self, path: Path, dimensions: int) -> Array:
        """Return the array of one IDX file: from the archive, whose checksum is known, or from its unpacked copy."""
        archive = path.with_name(path.name + ".gz")
        try:
            data = (
                gzip.decompress(self.checked(archive, self._md5(archive.name)).read_bytes())
                if archive.exists()
                else path.read_bytes()
            )
        except (OSError, EOFError, zlib.error):
            raise self.damaged(archive, "is no gzip archive") from None
        head = 4 + 4 * dimensions
        shape = np.frombuffer(data[4:head], ">u4").astype(int)
        if data[:4] != bytes([0, 0, UNSIGNED_BYTES, dimensions]) or len(data) - head != np.prod(shape, dtype=int):
            raise self.damaged(path, "is no complete IDX file")
        return np.frombuffer(data, np.uint8, offset=head).reshape(shape)

    def _md5(self, archive: str) -> str:
        import torchvision.datasets

        resources: list[tuple[str, str]] = getattr(torchvision.datasets, self.folder_name).resources
        return dict(resources)[archive]


@component
class FashionMnist(Mnist):
    """Fashion-MNIST: 60,000 + 10,000 grey images of 28x28 pixels, articles of clothing, 10 classes."""

    name: ClassVar[str] = "fashion-mnist"
    size: ClassVar[str] = "31 MB"
    folder_name: ClassVar[str] = "FashionMNIST"
