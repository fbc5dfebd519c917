"""Suggestions for wrong names and options, beyond the closest spelling."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from privbench.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

UNDEFENDED = {"none", "no", "no-defense", "undefended", "baseline", "plain", "erm", "vanilla"}
"""Common names of training without a defense, which is `ce`."""
_LIST = re.compile(r"(\w+)=[\[(]?([^,=\[(/]+(?:,[^,=/\])]+)+)[\])]?(?=,\w+=|$)")


def for_name(kind: str, name: str, known: Mapping[str, Collection[str]]) -> str:
    """Return a hint for an unknown name of a kind, as a sentence after a space, or an empty text.

    known: names of components by kind
    """
    words = [word for word in re.split(r"[,\s]+", name) if word]
    if len(words) > 1 and all(word.partition(":")[0] in known[kind] for word in words):
        return f" To name several, repeat the option: {' '.join(f'--{kind} {word}' for word in words)}."
    others = [other for other, names in known.items() if name in names]
    if others:
        return f" {name!r} is {'an' if others[0][0] == 'a' else 'a'} {others[0]}: --{others[0]} {name}."
    if kind == "task" and name.endswith(".npz"):
        return f" A file goes by npz:path={name}."
    if kind == "defense" and name.casefold() in UNDEFENDED and "ce" in known[kind]:
        return " Did you mean 'ce', which trains without a defense?"
    return did_you_mean(name, known[kind])


def for_options(name: str, part: str, options: str, required: Collection[str]) -> str:
    """Return a hint for a part of a component's options that is not option=value, or an empty text.

    options: all options as typed
    required: the names of the component's options without a default
    """
    for key, text in _LIST.findall(options):
        values = [value.strip() for value in text.split(",")]
        if part.strip("[]() ") in values:
            return f" Lists are written with slashes: {key}={'/'.join(values)}."
    if pair := re.fullmatch(r"(\w+)\s*[:\s]\s*(\S+)", part.strip()):
        return f" Did you mean '{pair[1]}={pair[2]}'?"
    if len(required) == 1 and part == options:
        return f" Did you mean '{name}:{next(iter(required))}={part}'?"
    return ""
