"""Quotes in component texts: a value with commas, quotes or spaces at its ends is written 'like, this'.

A quote within is doubled, as in CSV and SQL. Backslashes mean nothing: they part the folders of Windows' paths.
"""

from __future__ import annotations

import re

from privbench.errors import BadOption

QUOTES = "'\""
SEPARATORS = r",|\+(?=[a-z])"
"""What ends a value: the next option, or the next part of a chain."""
_PIECE = re.compile(r"(?P<quote>['\"])(?:(?!(?P=quote)).|(?P=quote){2})*(?P=quote)", re.DOTALL)


def split(text: str, separator: str) -> list[str]:
    """Split a text at a separator, a regular expression, wherever it does not stand in quotes.

    Quotes begin at the start of a value: of the text, or after `=` or a separator. Raises BadOption for one that does
    not end.
    """
    parts, start, at, opens = [], 0, 0, True
    divider = re.compile(separator)
    while at < len(text):
        if opens and text[at] in QUOTES:
            piece = _PIECE.match(text, at)
            if piece is None:
                raise BadOption(f"In {text!r} the quote {text[at:]!r} does not end; a quote within quotes is doubled.")
            at, opens = piece.end(), False
            continue
        found = divider.match(text, at)
        if found:
            parts.append(text[start:at])
            start = at = found.end()
            opens = True
            continue
        opens = text[at] == "=" or (opens and text[at].isspace())
        at += 1
    return [*parts, text[start:]]


def is_quoted(text: str) -> bool:
    """Return whether a text is one quoted value."""
    piece = _PIECE.match(text)
    return piece is not None and piece.end() == len(text)


def is_plain(text: str) -> bool:
    """Return whether a value reads the same without quotes around it."""
    if not text or text != text.strip() or is_quoted(text):
        return False
    try:
        return len(split(text, SEPARATORS)) == 1
    except BadOption:  # a quote at its start that does not end
        return False


def unquoted(text: str) -> str:
    """Return a value without its quotes, where it has some."""
    return text[1:-1].replace(text[0] * 2, text[0]) if is_quoted(text) else text


def quoted(text: str) -> str:
    """Return a value in quotes, of the kind that it holds fewer of."""
    quote = min(QUOTES, key=text.count)
    return quote + text.replace(quote, quote * 2) + quote
