"""Every error that privbench raises on purpose, and how failures of components are told and contained.

    PrivbenchError                 exit code 1
    ├── UsageError                 2: what was typed is wrong
    │   ├── UnknownName            2: no such task, defense, attack, audit, file
    │   ├── BadOption              2: an option that is unknown, of a wrong type or out of range
    │   ├── DataError              2: a dataset that is missing or unfit
    │   └── CannotWrite            2: a file or folder that cannot be written, for a full disk or lack of permission
    ├── PluginError                   a plugin clashes, or breaks the rules of registration
    ├── CorruptArtifact               bytes in the store are not those that were written
    ├── UndeclaredEvidence            an attack asked for what its threat model does not declare
    └── CellFailed                    one cell of the grid has no result; the others go on
        ├── Diverged                  training left the finite numbers
        ├── InvalidScores             an attack returned something that is no score
        └── WorkerDied                the process that computed it was killed

Each message is one line for the person at the keyboard: what is wrong, where, and what would be right.

A plugin may raise anything, SystemExit included: `blamed` turns it into CellFailed, with the file and line that failed.
Only two things end a run: Ctrl-C, and a place that cannot be written.
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
    """Base of all errors that are meant to be read by a person; the CLI prints them without a traceback."""

    exit_code = 1


class UsageError(PrivbenchError):
    """What was asked for makes no sense; nothing was computed."""

    exit_code = 2


class UnknownName(UsageError):  # noqa: N818
    """A name that nothing is registered under."""


class BadOption(UsageError):  # noqa: N818
    """An option that a component does not have, or a value that it does not take."""


class DataError(UsageError):
    """A dataset that is missing, damaged or unfit for a task."""


class CannotWrite(UsageError):  # noqa: N818
    """A file or folder that cannot be written. It ends the run: every further result would be lost as well."""


class PluginError(PrivbenchError):
    """A plugin that registers the impossible, or a name that is already taken."""


class CorruptArtifact(PrivbenchError):  # noqa: N818
    """A stored artifact whose bytes are not those that were written."""


class UndeclaredEvidence(PrivbenchError):  # noqa: N818
    """An attack asked for evidence outside its declared threat model."""


class CellFailed(PrivbenchError):  # noqa: N818
    """One (task, defense, attack) has no result, for the reason in the message."""


class Diverged(CellFailed):
    """Training produced a loss or a weight that is not finite."""


class InvalidScores(CellFailed):
    """An attack returned scores of a wrong shape, or not finite."""


class WorkerDied(CellFailed):
    """The process that computed a model was killed from outside, often for lack of memory."""


def printable(text: str) -> str:
    """Return text that UTF-8 can hold: undecodable bytes of file names, which Python keeps as surrogates, escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of the known names, whatever its case, or nothing."""
    by_folded = {_folded(each): each for each in known}
    begun = [each for each in by_folded if len(name) > 1 and each.startswith(_folded(name))]
    if len(begun) == 1:
        return f" Did you mean {by_folded[begun[0]]!r}?"
    close = difflib.get_close_matches(_folded(name), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")


LONGEST = 500
"""Characters of an error's message: some libraries print whole tensors."""
ENDS_THE_RUN = (KeyboardInterrupt, CannotWrite)
"""Exceptions that are not contained."""

_log = logging.getLogger(__name__)


def one_line(error: BaseException) -> str:
    """Return "Type: message" on one line; of our own errors, which are written for people, the message alone."""
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
    """Run a component's code: whatever it raises becomes CellFailed, in one line that names its file and line.

    Errors of our own pass as they are, and so does Ctrl-C.
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
        sent = getattr(error, "__notes__", ())  # from a worker process, whose traceback does not travel
        lines = sent or traceback.format_exception(type(error), error, error.__traceback__)
        _log.debug("%s", "".join(lines).rstrip())


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
