"""Data sets of an audit: real, synthetic and held-out examples, and their roles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from privbench import seeds
from privbench.data.dataset import Examples
from privbench.errors import DataError
from privbench.external.reading import one_set
from privbench.external.together import copies, together
from privbench.store.hashing import arrays_sha256

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.external.reading import Given


FEWEST = 4
"""Minimum number of held-out examples: two non-members, and two for the attacker."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Real examples, the synthetic set generated from them, and real examples that the generator never saw.

    real: the members.
    outside: rows of `holdout` that are the non-members, at most as many as there are members.
    reference: rows of `holdout` that are reference data of the attacker.
    """

    real: Examples
    synthetic: Examples
    holdout: Examples
    outside: Array
    reference: Array
    labels: Array | None
    """Original labels of the real examples, (n,) integers or texts, if there are any; attacks see labels only if all
    three sets have them."""
    exact: tuple[Array, Array]
    """Rows (n, width) of the real and of the held-out set that are equal only if the original rows are."""
    columns: tuple[str, ...]
    """Names or numbers of the columns of a table; empty for images."""
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_image(self) -> bool:
        """Whether the examples are images rather than rows of a table."""
        return self.real.is_image

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the three sets and their roles."""
        sets = {"real": self.real, "synthetic": self.synthetic, "holdout": self.holdout}
        parts = [(f"{name} {axis}", getattr(each, axis)) for name, each in sets.items() for axis in "xy"]
        return arrays_sha256([*parts, ("outside", self.outside)])


def sets(real: Given, synthetic: Given, holdout: Given, seed: int, label: str | None = None) -> Sets:
    """Read and check three sets, and split the held-out one: half non-members, the rest data of the attacker.

    real, synthetic, holdout: the sets; named columns are matched by name.
    seed: seed of the split.
    label: column of labels, in tables with named columns.

    Raises DataError with the fault and its correction.
    """
    given = {"real": real, "synthetic": synthetic, "holdout": holdout}
    aligned, notes = together([one_set(each, role, label) for role, each in given.items()])
    found = dict(zip(given, aligned, strict=True))
    labels = _numbered([each.y for each in aligned], [len(each.x) for each in aligned])
    parts = {role: Examples(each.x, y) for (role, each), y in zip(found.items(), labels, strict=True)}
    sizes = {role: len(each) for role, each in parts.items()}
    if sizes["holdout"] < FEWEST or sizes["real"] < 2:  # noqa: PLR2004 - a comparison takes two
        raise DataError(
            f"{sizes['real']} real and {sizes['holdout']} held-out examples: give 2 or more real ones, and {FEWEST} "
            f"or more that the generator never saw."
        )
    count = min(sizes["real"], sizes["holdout"] // 2)
    shuffled = seeds.numpy_generator(seed, "given", "holdout").permutation(sizes["holdout"])
    warnings, said = copies(*aligned)
    notes += said
    if any(each.y is None for each in aligned) and any(each.y is not None for each in aligned):
        without = " and ".join(role for role, each in found.items() if each.y is None)
        notes.append(f"Attacks see no labels: the {without} examples have none.")
    notes.append(
        f"Members are all {sizes['real']} real examples, non-members {count} of {sizes['holdout']} held-out "
        f"ones; the other {sizes['holdout'] - count} are the attacker's own (seed {seed})."
    )
    return Sets(
        parts["real"],
        parts["synthetic"],
        parts["holdout"],
        np.sort(shuffled[:count]),
        np.sort(shuffled[count:]),
        found["real"].y,
        (found["real"].exact, found["holdout"].exact),
        aligned[0].columns,
        tuple(warnings),
        tuple(notes),
    )


def _numbered(labels: list[Array | None], sizes: list[int]) -> list[Array]:
    """Return labels as int64, with the same numbers for texts in all sets; zeros if a set has none."""
    if any(each is None for each in labels):
        return [np.zeros(size, dtype=np.int64) for size in sizes]
    known = [each for each in labels if each is not None]
    if all(each.dtype.kind in "iu" for each in known):
        return [each.astype(np.int64) for each in known]
    texts = np.unique(np.concatenate([each.astype(np.str_) for each in known]))
    return [np.searchsorted(texts, each.astype(np.str_)) for each in known]
