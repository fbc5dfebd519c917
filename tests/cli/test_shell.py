import os
import shlex
import subprocess

import pytest

from privbench.cli.shell import command_line, readable

WORDS = ["plain", "two words", "a,b;c", "it's", 'say "x"', "日本", "back\\slash", "$HOME"]
BYTES = os.fsdecode(b"caf\xe9 'x' \\n")


def test_words_are_quoted_as_shlex_does():
    assert command_line(WORDS) == shlex.join(WORDS)
    assert [readable(word) for word in WORDS] == WORDS


def test_bytes_that_are_no_text_survive_the_shell(tmp_path):
    assert readable(BYTES) == "caf\\xe9 'x' \\n"
    line = command_line(["printf", "%s", BYTES])
    line.encode("utf-8")  # as a record has it
    try:
        done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("there is no bash")
    assert done.stdout == os.fsencode(BYTES)
