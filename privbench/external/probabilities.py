"""Conversion of probabilities to logits: checks, and zeros as values below the resolution of the predictions.

A forest of 30 trees predicts in multiples of 1/30, k neighbours in multiples of 1/k, a service in steps of its last
digit. A zero there means "less than half a step". Replaced by the smallest number of its type it would be 700 nats from
everything else, and a few such examples would dominate the variance of LiRA's Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privbench.errors import DataError
from privbench.external import precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array

SUM_TOLERANCE = 1e-3
"""Tolerance of the sum of a row, for rounding to three digits."""
PERCENT, PAIR = 100, 2
UNDERFLOW = 1e-19
"""Smallest positive probabilities below it come from floating point, in which softmax reaches 1e-38 and less, not from
counts or rounding."""
COMPLEMENT = 1e-6
"""For two classes, one is often 1 minus the other: it ends at 1e-8 or 1e-16, while the other reaches 1e-45. From this
ratio on, each class has its own floor."""
ALIKE = 10
"""Models whose smallest positive probabilities differ by less than this factor have the same resolution."""
ROUNDED = 0.05
"""Tolerance of a multiple of a step: thirtieths with four digits need it."""
STEPS = 5
"""Number of distinct multiples of the smallest probability that make it a step: two or three occur by chance."""
HALF_TOLERANCE = 2e-2
"""Tolerance of the sum of a row of 16-bit numbers."""


@dataclass(frozen=True)
class Grain:
    """Resolution of the probabilities of one model, inferred from their values.

    least: smallest positive probability, above those at which zeros were clipped.
    is_stepped: whether all are multiples of it.
    tiny: smallest positive number of the floating-point type.
    rows: number of rows with a zero.
    """

    least: float
    is_stepped: bool
    tiny: float
    rows: int

    @property
    def is_coarse(self) -> bool:
        """Whether zeros come from counting or rounding; undecidable if all values are 0 or 1."""
        return self.rows > 0 and UNDERFLOW <= self.least < 1


def as_logits(given: Sequence[tuple[str, Array]]) -> tuple[list[Array], list[str], list[str]]:
    """Return log p of each array as float32, warnings, and notes.

    given: (name in messages, probabilities): the target's, (n, q, c), then the shadows', (s, n, q, c).

    All have the same floor, because a number must have the same meaning in the target and in its shadows.
    """
    models = [(where, p.reshape(-1, *p.shape[-3:])) for where, p in given]
    for where, several in models:
        for i, model in enumerate(several):
            check(model, where if len(several) == 1 else f"{where}[{i}]")
    classes = given[0][1].shape[-1]
    grains = [[grain(model) for _, several in models for model in several]]
    if classes == PAIR and min(one.least for one in grains[0]) < COMPLEMENT:
        grains = [[grain(model[..., [i]]) for _, several in models for model in several] for i in range(PAIR)]
    floors = [floor_of(each) for each in grains]
    floor = np.array([found for found, _ in floors])
    out = []
    for (_, p), (_, several) in zip(given, models, strict=True):
        logits = np.empty(several.shape, dtype=np.float32)
        for i, model in enumerate(several):
            logits[i] = np.log(floored(model, floor, share=floors[0][1] and classes > PAIR))
        out.append(logits.reshape(p.shape))
    most = max(range(len(floors)), key=lambda i: floors[i])
    return out, _warnings(given, grains[most], floors[most][0]), _notes(given, grains[most], floors[most][0])


def floor_of(grains: Sequence[Grain]) -> tuple[float, bool]:
    """Return the replacement of zeros, and whether it is half of a coarse resolution; 0.0 without zeros.

    It is the finest resolution, because a few predictions may not show it fully; but the coarsest if a model has steps
    that others do not have.
    """
    if not any(one.is_coarse for one in grains):
        return max((one.tiny for one in grains if one.rows), default=0.0), False
    finest, coarsest = min(one.least for one in grains), coarsest_steps(grains)
    return max(finest, coarsest if differ(grains) else 0) / 2, True


def coarsest_steps(grains: Sequence[Grain]) -> float:
    """Return the largest step of the models with zeros and steps; 0.0 without such models."""
    return max((one.least for one in grains if one.is_coarse and one.is_stepped), default=0.0)


def differ(grains: Sequence[Grain]) -> bool:
    """Return whether some models have other steps than the rest, because of other rounding or fewer trees."""
    return min(one.least for one in grains) * ALIKE < coarsest_steps(grains)


def floored(p: Array, floor: Array, *, share: bool) -> Array:
    """Return probabilities (n, q, c) as float64, with values below the floor replaced by it.

    floor: (1,) for all classes, or (c,).
    share: whether the classes below the floor share the remainder of the row to 1, and at least one floor; with 100
        classes and a floor of 0.005 each, p = 1 would become p = 2/3.
    """
    kept = p.astype(np.float64)
    small = kept < floor
    if not share:
        return np.where(small, floor, kept)
    count = small.sum(axis=-1, keepdims=True)
    left = 1 - np.where(small, 0, kept).sum(axis=-1, keepdims=True)
    return np.where(small, np.clip(left, floor, floor * np.maximum(count, 1)) / np.maximum(count, 1), kept)


def grain(p: Array) -> Grain:
    """Return the resolution of the probabilities of one model, (n, q, c)."""
    positive = p[p > 0].astype(np.float64)
    if not len(positive):
        return Grain(1.0, is_stepped=False, tiny=precision.tiny(p), rows=p[..., 0].size)
    least, zero = float(positive.min()), 0.0
    at_least, above = positive[positive <= least * 1.001], positive[positive > least * 1.001]
    # A frequent value far below all others is where zeros were clipped, to avoid log(0).
    if len(at_least) >= ALIKE and len(above) and above.min() > least * 1000:
        least, zero, positive = float(above.min()), float(at_least.max()), above
    counts = positive / least
    is_stepped = all(precision.are_whole(some, ROUNDED) for some in (counts[: precision.FEW], counts))
    is_stepped = is_stepped and len(np.unique(np.rint(counts))) >= STEPS
    return Grain(least, is_stepped, precision.tiny(p), int((p <= zero).any(axis=-1).sum()))


def check(p: Array, where: str) -> None:
    """Raise DataError unless each row of (m, n, q, c) is a distribution, up to rounding."""
    if (p < 0).any():
        rows, first = (p < 0).any(axis=-1), tuple(int(i) for i in np.argwhere(p < 0)[0])
        raise DataError(
            f"{where} has negative numbers in {int(rows.sum())} of {rows.size} rows, the first at {first}: "
            f"these are no probabilities. If they are logits, save them as 'logits'."
        )
    sums = p.sum(axis=-1, dtype=np.float64)
    off = is_off(p, sums)
    if not off.any():
        return
    if not is_off(p / PERCENT, sums / PERCENT).any():
        raise DataError(f"{where}: all rows sum to 100: these are percentages; divide them by 100.")
    raise DataError(
        f"{where}: {int(off.sum())} of {off.size} rows do not sum to 1; row {_first(off)} is the first, its sum is "
        f"{sums[tuple(np.argwhere(off)[0])]:.6g}. Give the softmax of all classes, or the logits as 'logits'."
    )


def is_off(p: Array, sums: Array) -> Array:
    """Return the rows further from 1 than half a unit of the last digit per class, or one unit if truncated."""
    rounded = precision.digits(p)
    decimal = p.shape[-1] * 0.5 * 10.0**-rounded if rounded else 0.0
    allowed = min(max(HALF_TOLERANCE if precision.half(p) else SUM_TOLERANCE, decimal), 0.5) + 1e-9
    least = 1 - max(allowed, min(2 * decimal, 0.5))
    return np.asarray((sums > 1 + allowed) | (sums < least - 1e-9))


def _first(bad: Array) -> int | tuple[int, ...]:
    """Return the row of the first True, with its query if there are several."""
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    return first if bad.shape[1] > 1 else first[0]


def _warnings(given: Sequence[tuple[str, Array]], grains: Sequence[Grain], floor: float) -> list[str]:
    names, rows = _names(given), _rows(given, grains)
    said = [
        f"{where} has no more than {precision.half(p)} precision, too coarse for LiRA; give float32 if you can."
        for where, p in given
        if precision.half(p)
    ]
    is_coarse = any(one.is_coarse for one in grains)
    if all(one.least == 1 for one in grains):
        said.append(
            f"{names}: all are 0 or 1, which tells no more than the predicted class; give logits if the model has them."
        )
    elif not is_coarse and any(one.rows for one in grains):
        said.append(
            f"{names}: {rows} hold a probability of exactly 0, taken as {floor:.1g}: rounding has removed "
            f"differences that attacks use, LiRA most of all. Give logits if the model has them."
        )
    if is_coarse and differ(grains):
        said.append(
            f"{names}: models differ in resolution, {coarsest_steps(grains):.2g} against "
            f"{min(one.least for one in grains):.2g}; all are cut off at {floor:.2g}, and attacks may mistake the "
            f"difference for leakage. Round all of them alike."
        )
    return said


def _notes(given: Sequence[tuple[str, Array]], grains: Sequence[Grain], floor: float) -> list[str]:
    if not any(one.is_coarse for one in grains):
        return []
    said = (
        f"{_rows(given, grains)} hold zeros, and the smallest other probability is {2 * floor:.3g}: the zeros of a row "
        f"share half of that, {floor:.2g}, or the remainder of the row to 1. Logits tell more, if the model has them."
    )
    return [said]


def _names(given: Sequence[tuple[str, Array]]) -> str:
    """Return "file: probabilities and shadow_probabilities"."""
    return " and ".join([given[0][0], *(where.rpartition(": ")[2] for where, _ in given[1:])])


def _rows(given: Sequence[tuple[str, Array]], grains: Sequence[Grain]) -> str:
    """Return the number of rows with zeros as text."""
    return f"{sum(one.rows for one in grains)} of {sum(p[..., 0].size for _, p in given)} rows of probabilities"
