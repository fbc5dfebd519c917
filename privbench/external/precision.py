"""Numerical precision as visible in the numbers: decimal digits, and an earlier floating-point type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from privbench.aliases import Array

MOST_DIGITS = 5
FEW = 1000
"""How many numbers are checked first; they nearly always suffice."""
TINY = {"bfloat16": 2**-133, "float16": 2**-24, "float32": 2**-149}
"""Smallest positive number of the types that numbers may have been widened from."""


def tiny(p: Array) -> float:
    """Return the smallest positive number of the type of the numbers, or of their type before they were widened."""
    own = np.nextafter(p.dtype.type(0), p.dtype.type(1)) if p.dtype.kind == "f" else np.nextafter(0.0, 1.0)
    return next((least for name, least in TINY.items() if _was(name, p)), float(own) or float(np.nextafter(0.0, 1.0)))


def half(p: Array) -> str:
    """Return "bfloat16" or "float16" if the numbers have 16 bits, or had before they were widened; else ""."""
    return next((name for name in ("bfloat16", "float16") if _was(name, p)), "")


def _was(name: str, p: Array) -> bool:
    """Return whether all numbers fit a floating-point type; undecidable for halves, quarters and the like."""
    for some in (p.reshape(-1)[:FEW], p):  # a few numbers nearly always suffice
        with np.errstate(over="ignore"):
            narrow = some.astype(np.float16 if name == "float16" else np.float32)
        if not (narrow == some).all() or (name == "bfloat16" and (narrow.view(np.uint32) & 0xFFFF).any()):
            return False
    return not (p * 64 == np.rint(p * 64)).all()


def digits(p: Array) -> int | None:
    """Return the number of decimals, 0 to 5, to which all probabilities are rounded; None if more, or not rounded."""
    eps = 4 * float(np.finfo(p.dtype).eps) if p.dtype.kind == "f" else 0.0
    for count in range(MOST_DIGITS + 1):
        if all(are_whole(some * float(10**count), 10**count * eps + 1e-9) for some in (p.reshape(-1)[:FEW], p)):
            return count if 10**count * eps < 0.1 else None  # noqa: PLR2004 - else its own type rounds more
    return None


def are_whole(scaled: Array, error: float) -> bool:
    """Return whether all numbers are integers, up to an error."""
    return bool(np.abs(scaled - np.rint(scaled)).max() <= error)
