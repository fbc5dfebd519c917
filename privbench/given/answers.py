"""What a user's models answered: checked, and as the logits that attacks take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import intervals
from privbench.errors import DataError
from privbench.given import files
from privbench.tasks import arrays

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

SUM_TOLERANCE = {2: 2e-2, 4: 1e-3, 8: 1e-3}
"""How far a row of probabilities may be from 1, by bytes of its type: what rounding to three digits does."""
SURE = 3.3
"""Standard errors at which a count of shadow memberships is said to predict the target's: one file in a thousand."""
ONE_QUERY, ALIGNED = 2, 3


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's answers, and perhaps its shadows'.

    logits: (n, q, c) float32; labels: (n,) int64; member: (n,) bool; shadow_logits: (s, n, q, c) float32, s perhaps 0;
    shadow_member: (s, n) bool; warnings: sentences for whoever made the arrays.
    """

    logits: Array
    labels: Array
    member: Array
    shadow_logits: Array
    shadow_member: Array
    warnings: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the arrays as they are attacked."""
        names = ("logits", "labels", "member", "shadow_logits", "shadow_member")
        return files.fingerprint((name, getattr(self, name)) for name in names)


def predictions(found: Mapping[str, Any], name: str) -> Predictions:
    """Check arrays by the names of `files.ALIASES`. Raises DataError, saying what is wrong and what would be right."""
    source, warnings = files.Found(found, name), []
    kind, key, answers = source.get("logits", "probabilities")
    if kind == "logits" and "probabilities" in source:
        warnings.append("both logits and probabilities are given; the logits are used.")
    logits = _queries(answers, f"{name}: {key}")
    logits, said = _logits(logits, kind, f"{name}: {key}")
    warnings += said
    labels = _labels(source, key, answers.shape, logits.shape[-1])
    member = _membership(source, key, answers.shape)
    shadows, shadow_member, said = _shadows(source, logits, key, answers.shape)
    warnings += [*said, *_split(member, shadow_member, logits, shadows), *source.unused()]
    return Predictions(logits, labels, member, shadows, shadow_member, tuple(warnings))


def _queries(array: Array, where: str) -> Array:
    """Return answers as (n, q, c)."""
    shape = array.shape
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where} is {array.dtype}; expected floating-point numbers, one per class.")
    if len(shape) == 1 or (len(shape) == ONE_QUERY and shape[1] == 1):
        raise DataError(
            f"{where} has shape {shape}; expected one number per class, (n, classes). Of a logit z for the second of "
            f"two classes make numpy.column_stack([0 * z, z]); of a probability p, numpy.column_stack([1 - p, p])."
        )
    if len(shape) not in (ONE_QUERY, ALIGNED) or 0 in shape or shape[-1] == 1:
        raise DataError(f"{where} has shape {shape}; expected (n, classes), or (n, queries, classes).")
    return array[:, None] if len(shape) == ONE_QUERY else array


def _logits(array: Array, kind: str, where: str) -> tuple[Array, list[str]]:
    """Return logits or probabilities (..., q, c) as float32 logits, and warnings. Raises DataError where it cannot."""
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{where} has {int(bad.sum())} numbers that are NaN or infinite, the first at {first}; "
            f"leave those examples out, or repair them."
        )
    if kind.endswith("probabilities"):
        return _log(array, where)
    with np.errstate(over="ignore"):
        logits = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(logits).all():
        raise DataError(f"{where} has numbers of up to {np.abs(array).max():.3g}, more than float32 holds; scale them.")
    # Zeros and ones that sum to 1 in every row are what softmax gives; what a last layer gives is not.
    if logits.min() >= 0 and np.abs(logits.sum(axis=-1) - 1).max() < SUM_TOLERANCE[4]:
        return logits, [f"{where}: all rows sum to 1: if these are probabilities, save them as {_renamed(kind)!r}."]
    return logits, []


def _renamed(kind: str) -> str:
    return kind.replace("logits", "probabilities")


def _log(p: Array, where: str) -> tuple[Array, list[str]]:
    """Return log p as float32: every signal of it is that of the logits, as far as p itself still tells them apart."""
    if (p < 0).any():
        rows = (p < 0).any(axis=-1)
        first = tuple(int(i) for i in np.argwhere(p < 0)[0])
        raise DataError(
            f"{where} has negative numbers in {int(rows.sum())} of {rows.size} rows, the first at {first}: "
            f"these are no probabilities. If they are logits, save them as 'logits'."
        )
    kept = p if p.dtype.kind == "f" else p.astype(np.float64)
    sums = kept.sum(axis=-1, dtype=np.float64)
    off = np.abs(sums - 1) > SUM_TOLERANCE.get(kept.dtype.itemsize, SUM_TOLERANCE[8])
    if off.any():
        row = np.argwhere(off)[0]
        at = int(row[0]) if off.ndim == ONE_QUERY and off.shape[-1] == 1 else tuple(int(i) for i in row)
        raise DataError(
            f"{where}: {int(off.sum())} of {off.size} rows do not sum to 1; row {at} is the first, its sum is "
            f"{sums[tuple(row)]:.6g}. Give the softmax of all classes, or the logits as 'logits'."
        )
    zeros = kept == 0
    least = np.finfo(kept.dtype).smallest_subnormal
    logits = np.log(np.where(zeros, least, kept), dtype=np.float64).astype(np.float32)
    said = []
    if zeros.any():
        rows = zeros.any(axis=-1)
        said.append(
            f"{where}: {int(rows.sum())} of {rows.size} rows hold a probability of exactly 0, taken as {least:.1g}: "
            f"rounding has made examples alike that attacks, LiRA above all, tell apart. Give logits if you can."
        )
    elif kept.dtype.itemsize < 4:  # noqa: PLR2004 - bytes of float32
        said.append(f"{where} is {kept.dtype}: too coarse for what LiRA looks at. Give logits, in float32, if you can.")
    return logits, said


def _labels(source: files.Found, key: str, shape: tuple[int, ...], classes: int) -> Array:
    _, label_key, raw = source.get("labels")
    labels = arrays.labels(raw, source.name, label_key)
    if len(labels) != shape[0]:
        raise DataError(f"{source.name}: {label_key} has shape {raw.shape}, but {key} has shape {shape}; both need n.")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{source.name}: {label_key} runs from {labels.min()} to {labels.max()}, but {key} of shape {shape} has "
            f"{classes} classes; number them 0 to {classes - 1}."
        )
    return labels


def _membership(source: files.Found, key: str, shape: tuple[int, ...]) -> Array:
    _, member_key, raw = source.get("membership")
    if raw.shape != shape[:1]:
        raise DataError(
            f"{source.name}: {member_key} has shape {raw.shape}, but {key} has shape {shape}; "
            f"expected {shape[:1]}, True for what the model was trained on."
        )
    member = _bits(raw, f"{source.name}: {member_key}")
    if member.all() or not member.any():
        only, other = ("members", "was not") if member.all() else ("non-members", "was")
        raise DataError(
            f"{source.name}: {member_key} marks {only} only ({len(member)} of {len(member)}); nothing tells how well "
            f"an attack does without examples of both kinds. Add some that the model {other} trained on."
        )
    return member


def _bits(raw: Array, where: str) -> Array:
    """Return an array of booleans, zeros and ones as bool."""
    if raw.dtype.kind not in "buif" or not np.isin(raw, (0, 1)).all():
        strange = "" if raw.dtype.kind not in "uif" else f", for example {raw[~np.isin(raw, (0, 1))][0]}"
        raise DataError(f"{where} is {raw.dtype} and holds other things than 0 and 1{strange}; 1 means member.")
    return raw.astype(bool)


def _shadows(source: files.Found, logits: Array, key: str, shape: tuple[int, ...]) -> tuple[Array, Array, list[str]]:
    """Return the shadows' logits and membership, and warnings; none of either where none are given."""
    wanted = ("shadow_logits", "shadow_probabilities", "shadow_membership")
    if not any(each in source for each in wanted):
        return np.empty((0, *logits.shape), dtype=np.float32), np.empty((0, len(logits)), dtype=bool), []
    kind, shadow_key, answers = source.get(*wanted[:2])
    where = f"{source.name}: {shadow_key}"
    found = answers[:, :, None] if answers.ndim == ALIGNED else answers
    if found.dtype.kind not in "fiu" or found.shape[1:] != logits.shape or not len(found):
        raise DataError(
            f"{where} is {answers.dtype} of shape {answers.shape}, but {key} has shape {shape}; "
            f"expected numbers of shape {('shadows', *shape)}."
        )
    _, member_key, raw = source.get(wanted[2])
    if raw.shape != found.shape[:2]:
        raise DataError(
            f"{source.name}: {member_key} has shape {raw.shape}, but {shadow_key} has shape {answers.shape}; "
            f"expected {found.shape[:2]}: which examples each shadow was trained on."
        )
    converted, warnings = _logits(found, kind, where)
    return converted, _bits(raw, f"{source.name}: {member_key}"), warnings


def _split(member: Array, shadow_member: Array, logits: Array, shadows: Array) -> list[str]:
    """Return warnings about shadows whose very memberships give the target's away, with no leakage of any model."""
    said = []
    for index, row in enumerate(shadow_member):
        if (row == member).all():
            same = " and its answers are the target's too" if np.array_equal(shadows[index], logits) else ""
            said.append(f"shadow {index} has the target's own members{same}: an attacker cannot have it; leave it out.")
        elif (row != member).all():
            said.append(
                f"shadow {index} was trained on the complement of the target's members: counting shadow memberships "
                f"then finds every member without any leak. Leave the target's partner out."
            )
    n, inside = len(member), int(member.sum())
    auc = intervals.delong(shadow_member.sum(axis=0).astype(float), member)[0] if len(shadow_member) else 0.5
    if abs(auc - 0.5) > SURE * np.sqrt((n + 1) / (12 * inside * (n - inside))):
        said.append(
            f"how many shadows an example is a member of predicts the target's membership (AUC {auc:.3f}): a flaw of "
            f"the split that attacks may take for a leak, or that hides one. Draw the target's members by themselves."
        )
    return said
