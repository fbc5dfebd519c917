"""Failures of components: contained to their cell, and told in one line with the file and line that failed.

A plugin may raise anything, SystemExit included. Only two things end a run: Ctrl-C, and a place that cannot be written.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privbench.errors import CannotWrite, CellFailed, PrivbenchError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

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
        where = location(error, component)
        raise CellFailed(one_line(error) + (f" ({where})" if where else "")) from error


def location(error: BaseException, component: Any) -> str:
    """Return "package/module.py:12", the innermost line of a component's own package in a traceback; "" without one."""
    package = type(component).__module__.partition(".")[0]
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
