from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from privbench.cli import streams

FULL = Path("/dev/full")


def privbench(*words, **options):
    """Run a command with what there is of standard output."""
    environ = {**os.environ, "PRIVBENCH_PLUGINS": "", **options.pop("env", {})}
    command = [sys.executable, "-m", "privbench", *words]
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, env=environ, **options)


@pytest.mark.skipif(not FULL.exists(), reason="there is no full device here")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list", "tasks"], ["list", "--json"], ["run", "--help"]])
@pytest.mark.parametrize("env", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_an_output_that_is_full_is_one_line(words, env):
    with FULL.open("w") as full:
        done = privbench(*words, stdout=full, env=env)
    assert (done.returncode, done.stderr) == (1, "Error: Cannot write the output: No space left on device.\n")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list", "tasks"], ["list", "--json"]])
def test_a_reader_that_leaves_ends_a_command_quietly(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = privbench(*words, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(sys.platform == "win32", reason="file descriptors are handed on otherwise")
@pytest.mark.parametrize("words", [["--version"], ["list", "tasks"]])
def test_a_closed_output_is_no_trouble(words):
    done = privbench(*words, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_printed_as_escapes(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    streams.escape_unknown(stream)
    stream.write("\u03b5 \udcff")
    stream.flush()
    shown = stream.buffer.getvalue().decode(encoding)
    assert shown == ("\u03b5" if encoding == "utf-8" else "\\u03b5") + " \\udcff"


def test_undecodable_bytes_of_a_utf8_locale_are_kept():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    streams.escape_unknown(stream)
    assert stream.errors == "surrogateescape"


def test_other_errors_are_not_laid_to_the_output():
    for error in (OSError(errno.ENOSPC, "full", "model.npz"), OSError(errno.ENOENT, "gone")):
        with pytest.raises(OSError, match=error.strerror), streams.safe_output():
            raise error


def test_the_debug_log_is_printed_where_it_is_wanted(capsys):
    log = logging.getLogger("privbench.errors")
    with streams.debug_log(wanted=False):
        log.debug("quiet")
    with streams.debug_log(wanted=True):
        log.debug("Traceback")
    log.debug("quiet again")
    assert capsys.readouterr() == ("", "Traceback\n")
