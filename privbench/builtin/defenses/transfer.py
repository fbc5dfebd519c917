"""Transfer: whether moved examples are where a translation should bring them, by models that did not value them.

Each measuring model is trained on a random half of the real and generated examples, and measures the other half: for it
an example is new, and so is the moved one, so that being trained on raises neither rank.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privbench.api import Examples
from privbench.builtin.defenses.real_and_fake import like
from privbench.builtin.defenses.valuation import RISKY, SAFE
from privbench.data import concatenate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privbench.aliases import Array
    from privbench.api import Context
    from privbench.builtin.defenses.valuing import Valuer


class Moved(NamedTuple):
    """The rows of the moved examples, and the moved images."""

    rows: Array
    x: Array
    """uint8 (len(rows), height, width, channels)."""


class Asked(NamedTuple):
    """Images about which measuring models are asked: examples of the union, or what was made of them."""

    rows: Array
    examples: Examples


def measure(
    valuer: Valuer, union: Examples, levels: Array, moved: Mapping[str, Moved], ctx: Context
) -> dict[str, float]:
    """Return facts: the mean risk rank of moved examples before and after, and the share whose label is recognised.

    union: real, then generated examples, with their privacy levels (n,)
    moved: by the name of the source; their rows are those of the union

    The risk rank of an image is the share of the examples that a model measures which are safer; ties count half. Of
    each source there are `_rank_before`, `_rank_after`, `_rank_exchanged`, and the same of `_recognised`; `exchanged`
    is after the changes of all moved images were exchanged among them, which shows what changes of this size do that
    were made for another image. For comparison `safe_rank`, `risky_rank`, `safe_recognised` and `risky_recognised`, of
    the examples of both levels. `_kept` is the share of images recognised before that still are.
    """
    asked = {(name, ""): _of(union, levels == level) for name, level in (("safe", SAFE), ("risky", RISKY))}
    for source, each in moved.items():
        before = union[each.rows]
        after = {"after": each.x, "exchanged": exchanged(before.x, each.x, ctx.rng(f"{source} exchanged"))}
        asked[source, "before"] = Asked(each.rows, before)
        asked |= {(source, when): Asked(each.rows, like(Examples(x, before.y), union)) for when, x in after.items()}
    found = []
    for pair in range(valuer.options.measuring):
        half = ctx.rng(f"half {pair}").permutation(len(union)) % 2 == 0
        for side, inside in enumerate((half, ~half)):
            found.append(_ask(valuer, union, inside, list(asked.values()), ctx.stage("measuring", 2 * pair + side)))
    answers = zip(*found, strict=True) if found else ()
    joined = {
        each: tuple(map(np.concatenate, zip(*parts, strict=True))) for each, parts in zip(asked, answers, strict=False)
    }
    facts = {}
    for (source, when), both in joined.items():
        for name, values in zip(("rank", "recognised"), both, strict=True):
            if len(values):
                facts["_".join(filter(None, (source, name, when)))] = float(values.mean())
        if when == "after" and (known := joined[source, "before"][1]).any():
            facts[f"{source}_kept"] = float(both[1][known].mean())
    return facts


def exchanged(before: Array, after: Array, rng: np.random.Generator) -> Array:
    """Return uint8 images `before`, each with the change from before to after of another one."""
    scale = 1 if before.dtype == np.uint8 else 255
    levels = np.rint(before * np.float32(scale))
    changes = after - levels
    order = rng.permutation(len(before))
    return np.asarray((levels + changes[order]).clip(0, 255), np.uint8)


def _of(union: Examples, where: Array) -> Asked:
    rows = np.flatnonzero(where)
    return Asked(rows, union[rows])


def _ask(
    valuer: Valuer, union: Examples, inside: Array, asked: Sequence[Asked], ctx: Context
) -> list[tuple[Array, Array]]:
    """Train a model on the examples inside; return ranks and whether labels are recognised, of all asked from outside.

    The images asked about are added to the non-members on which a threshold is fitted: the model saw none of them.
    """
    assert ctx.reference is not None
    model = valuer.train(union[inside], ctx)
    outside = [each.examples[~inside[each.rows]] for each in asked]
    parts = [union[inside], ctx.reference, union[~inside], *outside]
    everything = concatenate(*parts)
    u, recognised = valuer.measure(model, everything, np.arange(len(everything)) < len(parts[0]), ctx)
    u = np.abs(u) if valuer.options.distance == "abs" else u
    ends = np.cumsum([len(part) for part in parts])
    scale = np.sort(u[ends[1] : ends[2]])
    ranks = (np.searchsorted(scale, u, "left") + np.searchsorted(scale, u, "right")) / 2 / len(scale)
    return [(ranks[start:end], recognised[start:end]) for start, end in itertools.pairwise(ends[2:])]
