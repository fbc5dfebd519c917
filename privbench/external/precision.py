"""Numerical precision as visible in the numbers: decimal digits, and an earlier floating-point type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from privbench.aliases import Array

MOST_DIGITS = 5
FEW = 1000
"""Numbers that are looked at first: nearly always they decide."""
TINY = {"bfloat16": 2**-133, "float16": 2**-24, "float32": 2**-149}
"""Smallest positive number of the types from which numbers may have been widened."""


def tiny(p: Array) -> float:
    """Return the smallest positive number of the type that the numbers are of, or were before they were widened."""
    own = np.nextafter(p.dtype.type(0), p.dtype.type(1)) if p.dtype.kind == "f" else np.nextafter(0.0, 1.0)
    return next((least for name, least in TINY.items() if _was(name, p)), float(own) or float(np.nextafter(0.0, 1.0)))


def half(p: Array) -> str:
    """Return "bfloat16" or "float16" where the numbers are of 16 bits, or were before they were widened; else ""."""
    return next((name for name in ("bfloat16", "float16") if _was(name, p)), "")


def _was(name: str, p: Array) -> bool:
    """Return whether all numbers are of a floating-point type; of halves, quarters and such it cannot be told."""
    for some in (p.reshape(-1)[:FEW], p):  # nearly always a few numbers decide
        with np.errstate(over="ignore"):
            narrow = some.astype(np.float16 if name == "float16" else np.float32)
        if not (narrow == some).all() or (name == "bfloat16" and (narrow.view(np.uint32) & 0xFFFF).any()):
            return False
    return not (p * 64 == np.rint(p * 64)).all()


def digits(p: Array) -> int | None:
    """Return to how many decimal digits, 0 to 5, all probabilities are rounded; None if to more, or not at all."""
    eps = 4 * float(np.finfo(p.dtype).eps) if p.dtype.kind == "f" else 0.0
    for count in range(MOST_DIGITS + 1):
        if all(are_whole(some * float(10**count), 10**count * eps + 1e-9) for some in (p.reshape(-1)[:FEW], p)):
            return count if 10**count * eps < 0.1 else None  # noqa: PLR2004 - else its own type rounds more
    return None


def are_whole(scaled: Array, error: float) -> bool:
    """Return whether all numbers are whole, but for an error."""
    return bool(np.abs(scaled - np.rint(scaled)).max() <= error)
