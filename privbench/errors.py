"""Exceptions of privbench, and containment of failures in components.

    PrivbenchError                 exit code 1
    ├── UsageError                 2: wrong usage
    │   ├── UnknownName            2: no such task, defense, attack, audit, file
    │   ├── BadOption              2: an option that is unknown, of a wrong type or out of range
    │   ├── DataError              2: a data set that is missing or unsuitable
    │   └── CannotWrite            2: a file or folder that cannot be written, for a full disk or lack of permission
    ├── PluginError                   a plugin clashes, or breaks the rules of registration
    ├── CorruptArtifact               an artifact in the store is damaged, or no longer there
    ├── InvalidRecord                 a file of records that is damaged, was changed, or is no record; others are read
    ├── UndeclaredEvidence            an attack accessed evidence outside its threat model
    └── CellFailed                    one cell of the grid has no result; the others continue
        ├── Diverged                  training gave non-finite numbers
        ├── InvalidScores             an attack returned invalid scores
        ├── OnlyAlone                 a model that cannot be trained beside others; it is tried again by itself
        ├── NotMade                   a release that is of no use, because another one of its population failed
        ├── TimedOut                  it took longer than allowed
        └── WorkerDied                the process that computed it was killed

Each message is one line for the user: what is wrong, where, and what would be right.

A plugin may raise anything, SystemExit included: `blamed` turns it into CellFailed, with the file and line that failed.
Only two things end a run: Ctrl-C, and a location that cannot be written.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType


class PrivbenchError(Exception):
    """Base of all errors for users; the CLI prints them without a traceback."""

    exit_code = 1


class UsageError(PrivbenchError):
    """An invalid request; nothing was computed."""

    exit_code = 2


class UnknownName(UsageError):  # noqa: N818
    """An unregistered name."""


class BadOption(UsageError):  # noqa: N818
    """An option that a component does not have, or an invalid value."""


class DataError(UsageError):
    """A data set that is missing, damaged or unsuitable for a task."""


class CannotWrite(UsageError):  # noqa: N818
    """A file or folder that cannot be written. It ends the run: every further result would be lost as well."""


class PluginError(PrivbenchError):
    """An invalid registration of a plugin, or a name that is already taken."""


class CorruptArtifact(PrivbenchError):  # noqa: N818
    """A stored artifact that is not what was written, or is no longer there; never one that is absent by design."""


class InvalidRecord(PrivbenchError):  # noqa: N818
    """A record that is damaged or was changed, has impossible numbers, or is no record."""


class UndeclaredEvidence(PrivbenchError):  # noqa: N818
    """Access of an attack to evidence outside its declared threat model."""


class CellFailed(PrivbenchError):  # noqa: N818
    """One (task, defense, attack) has no result, for the reason in the message."""


class Diverged(CellFailed):
    """Training with a non-finite loss or weight."""


class InvalidScores(CellFailed):
    """Scores of a wrong shape, or non-finite ones."""


class OnlyAlone(CellFailed):
    """Work that cannot be done beside that of other threads; whoever runs it does it again by itself."""


class NotMade(CellFailed):
    """A release that was not made, because another one of its population failed."""


class TimedOut(CellFailed):
    """A call that took longer than `--timeout` allows."""


class WorkerDied(CellFailed):
    """The process that computed a model was killed from outside, often for lack of memory."""


def printable(text: str) -> str:
    """Return text that UTF-8 can hold: undecodable bytes of file names, which Python keeps as surrogates, escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, ignoring case, or an empty text."""
    by_folded = {_folded(each): each for each in known}
    begun = [each for each in by_folded if len(name) > 1 and each.startswith(_folded(name))]
    if len(begun) == 1:
        return f" Did you mean {by_folded[begun[0]]!r}?"
    close = difflib.get_close_matches(_folded(name), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")


LONGEST = 500
"""Maximum length of an error's message: some libraries print whole tensors."""
ENDS_THE_RUN = (KeyboardInterrupt, CannotWrite)
"""Exceptions that are not contained."""

_log = logging.getLogger(__name__)


def one_line(error: BaseException) -> str:
    """Return "Type: message" on one line; for privbench's own errors the message alone."""
    try:
        text = printable(" ".join(str(error).split()))
    except Exception:  # noqa: BLE001 - an exception class of a plugin may do anything
        text = "(its message cannot be printed)"
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    if isinstance(error, PrivbenchError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def blamed(component: Any) -> Iterator[None]:
    """Run a component's code: any exception becomes CellFailed, in one line with the component's file and line.

    privbench's own errors and Ctrl-C pass unchanged.
    """
    try:
        yield
    except (PrivbenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        where = location(error, type(component).__module__)
        raise CellFailed(one_line(error) + (f" ({where})" if where else "")) from error


def location(error: BaseException, module: str) -> str:
    """Return "package/module.py:12", the innermost line of a module's package in a traceback; "" without one."""
    package = module.partition(".")[0]
    lines = [each for each in traceback.walk_tb(error.__traceback__) if _module(each[0]).partition(".")[0] == package]
    if not lines:
        return ""
    frame, line = lines[-1]
    parts = Path(frame.f_code.co_filename).parts
    depth = _module(frame).count(".") + 1 + (parts[-1] == "__init__.py")
    return f"{'/'.join(parts[-depth:])}:{line}"


def note(error: BaseException) -> None:
    """Log the traceback of a contained failure, for PRIVBENCH_DEBUG=1."""
    if _log.isEnabledFor(logging.DEBUG):
        sent = getattr(error, "__notes__", ())  # from a worker process, whose traceback is not transferred
        lines = sent or traceback.format_exception(type(error), error, error.__traceback__)
        _log.debug("%s", "".join(lines).rstrip())


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
