"""Standard output that is closed, full, truncated by `head`, or of a limited encoding; and the debug log."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from privbench.escapes import printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKEN = 1
"""Exit code if output cannot be written, as in click."""
_LOST = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}


@contextlib.contextmanager
def safe_output() -> Iterator[None]:
    """End a command whose output cannot be written: silently if the reader has closed the pipe, else with one line.

    Characters outside the encoding, and bytes of undecodable file names, are printed as escapes.
    """
    escape_unknown(sys.stdout)
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, not at the interpreter's exit, which prints a traceback
    except OSError as error:
        if error.filename is not None or error.errno not in _LOST:
            raise
        _discard_output()
        if error.errno != errno.EPIPE:
            with contextlib.suppress(OSError):
                click.echo(f"Error: Cannot write the output: {error.strerror}.", err=True)
        sys.exit(BROKEN)


def escape_unknown(stream: Any) -> None:
    """Make a stream print escapes for characters outside its encoding."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    utf8 = stream.encoding.lower().replace("-", "") == "utf8"
    if stream.errors == "strict" or (stream.errors == "surrogateescape" and not utf8):
        stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def debug_log(*, wanted: bool) -> Iterator[None]:
    """Print the log of privbench on stderr if `wanted`, including the tracebacks of contained failures."""
    if not wanted:
        yield
        return
    import logging

    class Stderr(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(printable_lines(self.format(record)), err=True)  # above the progress bar, if there is one

    handler, logger = Stderr(), logging.getLogger("privbench")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _discard_output() -> None:
    """Redirect the remaining buffer to devnull: otherwise the interpreter tries to write it once more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
