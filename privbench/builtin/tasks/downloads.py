"""Tasks with downloaded data, stored in torchvision's layout under one data root."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import option
from privbench.builtin.tasks.base import DataTask
from privbench.data import data_root
from privbench.errors import DataError, PrivbenchError

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 1 << 20


class Extent(NamedTuple):
    """The size of a published data set."""

    train: int
    """Number of examples."""
    test: int
    shape: tuple[int, int, int]
    """(height, width, channels) of an image."""
    classes: int


class Files(NamedTuple):
    """Public files of a data set: their addresses, the folder below the data root, and whether to unpack them."""

    addresses: list[str]
    folder: str
    unpacked: bool

    def text(self, root: Path) -> str:
        """Return instructions to get them by hand."""
        place = "unpack" if self.unpacked else "put"
        return f"download {', '.join(self.addresses)} elsewhere, and {place} it in {root / self.folder}"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DownloadedTask(DataTask):
    """A task that reads files below the data root, and never downloads them itself."""

    root: str | None = option(None, "folder of the data sets (none: $PRIVBENCH_DATA or the user's)", keyed=False)

    size: ClassVar[str]
    """Disk space of the download, as text."""
    extent: ClassVar[Extent | None] = None
    """The size of the data, for dry runs before the download."""
    by_hand: ClassVar[str | None] = None
    """How to get the data where `privbench data fetch` cannot."""

    @classmethod
    def wanted(cls) -> list[str]:
        """Return the required files and folders, relative to the data root."""
        raise NotImplementedError

    @classmethod
    def missing(cls, root: Path) -> list[str]:
        """Return the files that are not below `root`."""
        return [name for name in cls.wanted() if not (root / name).exists()]

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the data below `root` and verify checksums. Raises DataError, in one line, on failure."""
        if cls.by_hand:
            raise DataError(f"{cls.name} cannot be fetched: {cls.by_hand.format(root=root)}")
        try:
            root.mkdir(parents=True, exist_ok=True)
            cls.download(root)
        except (OSError, RuntimeError, EOFError, ImportError) as error:
            reason = " ".join(str(error).split()).strip("<>.") or type(error).__name__
            raise PrivbenchError(
                f"{cls.name} could not be fetched into {root}: {reason}. "
                f"Check the connection and the disk, and fetch again; or {cls.elsewhere().text(root)}."
            ) from None

    @classmethod
    def elsewhere(cls) -> Files:
        """Return the public files that `download` gets, for a download on another machine."""
        raise NotImplementedError

    @classmethod
    def download(cls, root: Path) -> None:
        """Download the data below `root`, with torchvision's addresses and checksums."""
        raise NotImplementedError

    def folder(self) -> Path:
        """Return the data root. Raises DataError, with the command that fetches them, if files are missing."""
        root = data_root(self.root)
        if self.missing(root):
            how = self.by_hand.format(root=root) if self.by_hand else f"fetch it with: {self._command()}"
            raise DataError(f"{self.name} is not in {root}; {how}")
        return root

    def checked(self, path: Path, md5: str) -> Path:
        """Return the path of a file with this checksum. Raises DataError if its checksum differs."""
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != md5:
            raise self.damaged(path, "has the wrong checksum")
        return path

    def damaged(self, path: Path, what: str) -> DataError:
        """Return the error for a file that differs from the published one."""
        again = "put it there again" if self.by_hand else f"fetch it again with: {self._command()}"
        return DataError(f"{self.name}: {path} {what}; {again}")

    def _command(self) -> str:
        return f"privbench data fetch {self.name}" + (f" --root {self.root}" if self.root else "")
