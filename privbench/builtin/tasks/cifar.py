"""CIFAR-10 and CIFAR-100, from the files that torchvision downloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import component, option
from privbench.builtin.models import ModelName
from privbench.builtin.tasks import presets as published
from privbench.builtin.tasks.downloads import DownloadedTask, Extent, Files
from privbench.builtin.tasks.safe_pickle import UnsafePickleError, loads
from privbench.data import Part, Source

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = (3, 32, 32)


@component
class Cifar10(DownloadedTask):
    """CIFAR-10: 50,000 + 10,000 colour images of 32x32 pixels, 10 classes of objects."""

    name: ClassVar[str] = "cifar10"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published.CIFAR
    size: ClassVar[str] = "350 MB"
    extent: ClassVar[Extent] = Extent(50_000, 10_000, (32, 32, 3), 10)
    folder_name: ClassVar[str] = "cifar-10-batches-py"
    torchvision_name: ClassVar[str] = "CIFAR10"
    parts: ClassVar[tuple[tuple[str, ...], ...]] = (tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",))
    labels: ClassVar[str] = "labels"
    classes: ClassVar[int] = 10

    model: ModelName = option("mobilenet_v3_small", "architecture")
    epochs: int = option(150, "passes over the training examples", ge=1)
    batch_size: int = option(256, "examples per step", ge=1)
    schedule: Literal["constant", "cosine", "steps"] = option("steps", "schedule of the learning rate")
    milestones: tuple[float, ...] = option((80 / 150, 130 / 150), "with steps: fractions of training at its drops")
    warmup: float = option(1.0, "epochs of linear warm-up", ge=0)
    crop: int = option(4, "random crop per example: pixels of reflect padding (0: off)", ge=0)
    flip: float = option(0.5, "probability of a horizontal flip per example", ge=0, le=1)

    @classmethod
    def wanted(cls) -> list[str]:
        """Return the required files, relative to the data root."""
        return [f"{cls.folder_name}/{name}" for part in cls.parts for name in part]

    @classmethod
    def elsewhere(cls) -> Files:
        """Return the archive."""
        import torchvision.datasets

        return Files([getattr(torchvision.datasets, cls.torchvision_name).url], "", True)

    @classmethod
    def download(cls, root: Path) -> None:
        """Download and unpack the archive; its pickles are not opened."""
        import torchvision.datasets
        from torchvision.datasets.utils import download_and_extract_archive

        known = getattr(torchvision.datasets, cls.torchvision_name)
        download_and_extract_archive(known.url, str(root), filename=known.filename, md5=known.tgz_md5)

    def source(self) -> Source:
        """Read the official training and test sets."""
        root = self.folder() / self.folder_name
        train, test = (self._read(root, names) for names in self.parts)
        return Source(train, test, self.classes, self.name)

    def _read(self, root: Path, names: tuple[str, ...]) -> Part:
        files = [self._file(root / name) for name in names]
        x = np.concatenate([part.x for part in files])
        return Part(x, np.concatenate([part.y for part in files]))

    def _file(self, path: Path) -> Part:
        import torchvision.datasets

        known = getattr(torchvision.datasets, self.torchvision_name)
        self.checked(path, dict([*known.train_list, *known.test_list])[path.name])
        try:
            content = loads(path.read_bytes())
            x = content["data"].array.reshape(-1, *IMAGE).transpose(0, 2, 3, 1)
            y = np.asarray(content[self.labels], dtype=np.int64)
        except UnsafePickleError as error:
            raise self.damaged(path, f"is refused, for it is no plain data: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self.damaged(path, "is no CIFAR file") from None
        return Part(np.ascontiguousarray(x), y)


@component
class Cifar100(Cifar10):
    """CIFAR-100: 50,000 + 10,000 colour images of 32x32 pixels, 100 classes of objects."""

    name: ClassVar[str] = "cifar100"
    extent: ClassVar[Extent] = Extent(50_000, 10_000, (32, 32, 3), 100)
    folder_name: ClassVar[str] = "cifar-100-python"
    torchvision_name: ClassVar[str] = "CIFAR100"
    parts: ClassVar[tuple[tuple[str, ...], ...]] = (("train",), ("test",))
    labels: ClassVar[str] = "fine_labels"
    classes: ClassVar[int] = 100
