"""Words as a command line for a shell, also with bytes that are not UTF-8, because a record is UTF-8."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from privbench.escapes import printable

if TYPE_CHECKING:
    from collections.abc import Iterable


def command_line(words: Iterable[object]) -> str:
    """Return words as a command line; words with hidden characters are quoted as $'...', for bash and zsh."""
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{printable(escaped)}'"
