"""Arrays in user files: detection by their usual names."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING, Any

from privbench.data.archives import archive
from privbench.errors import DataError, UsageError, did_you_mean
from privbench.external.conversion import are_shuffled, as_array, columns_of
from privbench.store.reading import fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from privbench.aliases import Array

ALIASES = {
    "logits": ("target_logits",),
    "probabilities": ("probs", "proba", "y_proba", "y_prob", "target_probabilities"),
    "labels": ("y", "y_true", "label", "target", "targets"),
    "membership": ("member", "members", "is_member", "in_train"),
    "shadow_logits": (),
    "shadow_probabilities": ("shadow_probs", "shadow_proba"),
    "shadow_membership": ("shadow_member", "shadow_members", "shadow_in"),
}
"""Arrays read by `privbench audit predictions` -> alternative names."""


def read(path: Path) -> dict[str, Array]:
    """Return the arrays of a .npz file by name. Raises DataError, saying what is wrong and what would be right."""
    if found := fault(path):
        raise DataError(f"{path}: {found}; give a .npz file, as numpy.savez writes it.")
    with archive(path, str(path), "several by name, with numpy.savez(file, name=array, ...)") as arrays:
        return {name: arrays[name] for name in arrays.files}


class Found:
    """Arrays of one source by canonical name, each with its name in the source.

    unread: names of other arrays.
    classes: names of the classes, if the columns of a data frame have names.
    """

    def __init__(self, arrays: Mapping[str, Any], name: str) -> None:
        self.name = name
        self._arrays: dict[str, tuple[str, Array]] = {}
        self.unread: list[str] = []
        self.classes: list[str] = []
        self._source = arrays
        canonical = {alias: wanted for wanted, aliases in ALIASES.items() for alias in (wanted, *aliases)}
        for key, value in arrays.items():
            wanted = canonical.get(str(key).lower().replace("-", "_"))
            if wanted is None:
                self.unread.append(str(key))
                continue
            if wanted in self._arrays:
                raise DataError(f"{name}: {self._arrays[wanted][0]} and {key} are both {wanted}; leave one out.")
            self._arrays[wanted] = key, as_array(value, f"{name}: {key}")
            if wanted in {"logits", "probabilities"}:
                self.classes = self.classes or _columns(value)

    def __contains__(self, wanted: str) -> bool:
        return wanted in self._arrays

    def get(self, *wanted: str) -> tuple[str, str, Array]:
        """Return (canonical name, name in the source, array) of the first one present. Raises DataError if none is."""
        for each in wanted:
            if each in self._arrays:
                return (each, *self._arrays[each])
        names = [key for key, _ in self._arrays.values()] + self.unread
        near = [(key, each) for each in wanted for key in self.unread if alike(key, each)]
        hint = f" Rename {near[0][0]!r} to {near[0][1]!r}?" if near else ""
        choice = " or ".join(map(repr, wanted))
        raise DataError(f"{self.name}: no array {choice}.{hint} Found: {', '.join(names) or 'none'}.")

    def shuffled(self) -> list[str]:
        """Return a warning for each pair of pandas objects with rows in different orders."""
        read = [key for key, _ in self._arrays.values()]
        return [
            f"{one} and {other} have the same index in different orders, and are paired by position; if that is wrong, "
            f"give {other}.loc[{one}.index]."
            for one, other in itertools.combinations(read, 2)
            if are_shuffled(self._source[one], self._source[other])
        ]

    def unused(self) -> list[str]:
        """Return a warning for each array that is not read."""
        said = []
        for key in self.unread:
            near = [each for each in ALIASES if alike(key, each)]
            said.append(f"array {key!r} is not read" + (f"; did you mean {near[0]!r}?" if near else "."))
        return said


def _columns(value: Any) -> list[str]:
    """Return the column names of a data frame, unless they are numbers in order; none for other objects."""
    names = [str(column) for column in columns_of(value)]
    return [] if names == [str(i) for i in range(len(names))] or len(set(names)) < len(names) else names


def check_keywords(arrays: Mapping[str, Any], options: Sequence[str]) -> None:
    """Raise UsageError for a keyword that is a misspelt option, or a single value instead of an array."""
    known = {alias for wanted, aliases in ALIASES.items() for alias in (wanted, *aliases)}
    for key, value in arrays.items():
        hint = did_you_mean(key, options)
        if key.lower() not in known and (hint or isinstance(value, (str, int, float, type(None)))):
            takes = hint or f"; it takes {', '.join(options[:-1])} and {options[-1]}, and arrays: {', '.join(ALIASES)}."
            raise UsageError(f"audit_predictions has no argument {key!r}{'.' if hint else ''}{takes}")


def alike(key: str, wanted: str) -> bool:
    """Return whether a name looks like a misspelt name of an array."""
    return bool(difflib.get_close_matches(key.lower(), [wanted, *ALIASES[wanted]], cutoff=0.75))
