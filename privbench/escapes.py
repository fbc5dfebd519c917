"""Escapes of texts from outside, such as names of files and plugins, for each format of output.

A name may hold terminal commands, line breaks, spreadsheet formulae, HTML or LaTeX. One function for each format makes
it show as the text that it is; sound texts are unchanged.
"""

from __future__ import annotations

import re
from typing import Any

_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, line separators, marks that change the direction of text, and undecodable bytes."""
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BYTES = 0xDC00
"""Python's offset of bytes that are not valid UTF-8."""
_LATEX = {
    **{char: "\\" + char for char in "#%&_${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_MARKDOWN = {"\\": r"\\", "|": r"\|", "<": "&lt;", "&": "&amp;"}
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""First characters of what a spreadsheet computes, also in their full-width forms."""


def printable(text: str) -> str:
    r"""Return a text on one line for a terminal: hidden characters as \n, \x1b or \u202e, undecodable bytes as \xff."""
    return _HIDDEN.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return a text of several lines for a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def one_line(text: str) -> str:
    """Return a sentence for a terminal, with line breaks and other white space as single blanks."""
    return printable(" ".join(text.split()))


def markdown(text: str) -> str:
    """Return a text for Markdown, also for a cell of a table: no HTML, links, images or further cells."""
    shown = "".join(_MARKDOWN.get(char, char) for char in printable(text))
    return re.sub(r"\](?=[(\[:])", r"]\\", shown)


def latex(text: str) -> str:
    """Return a text for LaTeX, also for a cell of a table."""
    shown = "".join(_LATEX.get(char, char) for char in printable(text))
    return f"{{{shown[0]}}}{shown[1:]}" if shown.startswith(("[", "*")) else shown  # arguments of the \\ before a row


def csv(value: Any) -> Any:
    """Return a cell of a CSV file: a text that a spreadsheet would compute gets a quotation mark before it."""
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) and not _is_number(shown) else shown


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code < 0x100 or 0 <= code - _BYTES < 0x100:  # noqa: PLR2004 - a byte
        return f"\\x{code % 0x100:02x}"
    return f"\\u{code:04x}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
