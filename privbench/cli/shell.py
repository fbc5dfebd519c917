"""Paths with bytes that are not UTF-8, as shell words and as readable names, because a record is UTF-8."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def readable(text: str) -> str:
    r"""Return a name with its bytes that are not valid UTF-8 written as \xff."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def command_line(words: Iterable[object]) -> str:
    """Return words as a command line for a shell; words with such bytes are quoted as $'...', for bash and zsh."""
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    if word.isprintable() or readable(word) == word:
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{readable(escaped)}'"
