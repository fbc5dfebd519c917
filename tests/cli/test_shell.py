import os
import shlex
import subprocess

import pytest

from privbench.cli.shell import command_line

WORDS = ["plain", "two words", "a,b;c", "it's", 'say "x"', "日本", "back\\slash", "$HOME"]
BYTES = os.fsdecode(b"caf\xe9 'x' \\n")


def test_words_are_quoted_as_shlex_does():
    assert command_line(WORDS) == shlex.join(WORDS)


@pytest.mark.parametrize("word", [BYTES, "a\nb", "\x1b[31m", "\u202egnp", "\u2028 \t"])
def test_hidden_characters_and_bytes_that_are_no_text_survive_the_shell(word):
    line = command_line(["printf", "%s", word])
    line.encode("utf-8")  # as a record has it
    assert line.isprintable()
    try:
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
    except FileNotFoundError:
        pytest.skip("there is no bash")
    assert done.stdout == os.fsencode(word)
