"""Scale of a table's columns: the space of displayed distances, and columns that dominate them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.features import FeatureOptions, fit_encoder, pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from privbench.aliases import Array
    from privbench.external.sets import Sets
    from privbench.features import Encoder

DOMINATES = 0.9
"""Share of the squared distances from which a column dominates them."""


def encoder(sets: Sets) -> Encoder:
    """Return the encoder to pixels or to table columns, standardised with the attacker's data."""
    return fit_encoder("pixels", sets.holdout[sets.reference], published=sets.synthetic.x)


def dominated(sets: Sets, attacks: Iterable[Any]) -> list[str]:
    """Return a warning if one column of a table dominates the distances that attacks compare."""
    if sets.is_image:
        return []
    spaces: dict[str, Callable[[Array], Array]] = {"": encoder(sets)}
    if any(isinstance(each, FeatureOptions) and each.encodes_raw for each in attacks):
        spaces[" where scale=none leaves columns as they are"] = pixels
    said = []
    for where, encode in spaces.items():
        shares = encode(sets.real.x).astype(np.float64).var(axis=0)
        shares /= shares.sum() or 1.0
        most = int(shares.argmax())
        if len(shares) > 1 and shares[most] > DOMINATES:
            said.append(
                f"column {sets.columns[most]!r} makes {shares[most]:.1%} of the squared distances between real "
                f"examples{where}: attacks see little else. Leave it out, or transform it."
            )
    return said
