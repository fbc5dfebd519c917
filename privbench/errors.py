"""Every error that privbench raises on purpose.

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
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


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
