"""Quotes in component texts: a value with commas, quotes or spaces at its ends is written 'like, this'.

A quote inside is doubled, as in CSV and SQL. Backslashes have no meaning, because they are part of Windows' paths.
"""

from __future__ import annotations

import re

from privbench.errors import BadOption

QUOTES = "'\""
SEPARATORS = r",|\+(?=[a-z])"
"""The end of a value: the next option, or the next part of a chain."""
_PIECE = re.compile(r"(?P<quote>['\"])(?:(?!(?P=quote)).|(?P=quote){2})*(?P=quote)", re.DOTALL)


def split(text: str, separator: str) -> list[str]:
    """Split a text at a separator, a regular expression, outside of quotes.

    Quotes begin at the start of a value: of the text, or after `=` or a separator. Raises BadOption for unclosed ones.
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
    except BadOption:  # an unclosed quote at its start
        return False


def unquoted(text: str) -> str:
    """Return a value without its quotes, if any."""
    return text[1:-1].replace(text[0] * 2, text[0]) if is_quoted(text) else text


def quoted(text: str) -> str:
    """Return a value in quotes, of the kind that occurs less often in it."""
    quote = min(QUOTES, key=text.count)
    return quote + text.replace(quote, quote * 2) + quote
