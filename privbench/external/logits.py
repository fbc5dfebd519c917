"""Logits as float32: an offset common to all classes of an example is subtracted first if it would cost precision.

Softmax is invariant to an offset, but float32 is not: around 1e8 its steps are 8. Unnormalised log-likelihoods have
such offsets. Logits that float32 represents exactly are unchanged, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.errors import DataError
from privbench.external.conversion import EXACT
from privbench.external.precision import half

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array

ENOUGH = 1e-4
"""Error of a logit, relative to 1 plus its distance from the largest, that is irrelevant to attacks."""
OFFSET = 128
"""Factor by which an offset exceeds the differences within the row."""
LOST, DOUBTFUL = 2**-4, 2**-10
"""Spacing of the numbers relative to the differences of a typical row; from the first on they are meaningless."""


def as_float32(given: Sequence[tuple[str, Array]]) -> tuple[list[Array], list[str]]:
    """Return the logits of each array as float32, and warnings.

    given: (name in messages, finite logits): the target's, (n, q, c), then the shadows', (s, n, q, c).

    All or none of them are centred. Raises DataError if the differences are lost or too large.
    """
    warnings = [text for where, z in given for text in check(z, where)]
    models = [[_float(model) for model in z.reshape(-1, *z.shape[-3:])] for _, z in given]
    centre = any(loses(model) for several in models for model in several)
    out = []
    for (where, z), several in zip(given, models, strict=True):
        logits = np.empty((len(several), *z.shape[-3:]), dtype=np.float32)
        for target, model in zip(logits, several, strict=True):
            with np.errstate(over="ignore"):
                target[...] = model - model.max(axis=-1, keepdims=True) if centre else model
        if not np.isfinite(logits).all():
            raise DataError(f"{where} has numbers of up to {np.abs(z).max():.3g}, more than float32 holds; scale them.")
        out.append(logits.reshape(z.shape))
    return out, warnings


def check(z: Array, where: str) -> list[str]:
    """Return warnings about precision. Raises DataError if rounding has removed the differences."""
    if z.dtype.kind in "iu":
        if (z > EXACT).any() or (z < -EXACT).any():
            raise DataError(f"{where} has integers beyond 2**53; subtract each row's maximum before they are saved.")
        return []
    said: dict[str, None] = {}
    for model in z.reshape(-1, *z.shape[-3:]):
        steps, typical = _steps(model)
        offset = f"{float(np.abs(model).max()):.2g}"
        if (steps > LOST * typical).any():
            raise DataError(
                f"{where}: in {int((steps > LOST * typical).sum())} of {steps.size} rows all numbers share an offset "
                f"of up to {offset}, beside which {z.dtype} no longer resolves differences between classes; subtract "
                f"each row's maximum before they are saved."
            )
        if (steps > DOUBTFUL * typical).any():
            said[
                f"{where}: all numbers of a row share an offset of up to {offset}, beside which {z.dtype} resolves "
                f"only {float(steps.max()):.2g}: subtract each row's maximum before they are saved."
            ] = None
    if not said and half(z):
        said[f"{where} has no more than {half(z)} precision, too coarse for LiRA; give float32 if you can."] = None
    return list(said)[:1]


def finite(z: Array, where: str) -> None:
    """Raise DataError if numbers are NaN or infinite."""
    bad = ~np.isfinite(z)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        hint = "leave those examples out, or repair them."
        if (z[bad] == -np.inf).all():
            hint = "of log-probabilities that hold log(0), give the probabilities instead."
        raise DataError(f"{where} has {int(bad.sum())} numbers that are NaN or infinite, the first at {first}; {hint}")


def _steps(z: Array) -> tuple[Array, float]:
    """Return the spacing of the numbers of each row, 0 without an offset, and the differences of a typical row."""
    wide = z if z.dtype.itemsize > np.dtype(np.float64).itemsize else z.astype(np.float64)
    with np.errstate(over="ignore"):
        spread = np.ptp(wide, axis=-1)
    largest = np.abs(z).max(axis=-1)
    steps = np.where(largest > OFFSET * spread, np.spacing(largest), 0).astype(wide.dtype)
    return steps, float(np.median(spread)) or 1.0


def loses(z: Array) -> bool:
    """Return whether the error of these logits (n, q, c) in float32 is large enough to affect an attack."""
    with np.errstate(over="ignore"):
        narrow = z.astype(np.float32)
    if (narrow == z).all():
        return False
    if not np.isfinite(narrow).all():
        return True
    from_top = z - z.max(axis=-1, keepdims=True)
    kept = narrow.astype(z.dtype)
    error = np.abs(kept - kept.max(axis=-1, keepdims=True) - from_top)
    return bool((error > ENOUGH * (1 - from_top)).any())


def _float(z: Array) -> Array:
    return z if z.dtype.kind == "f" and z.dtype.itemsize >= 4 else z.astype(np.float64)  # noqa: PLR2004 - float32
