"""User predictions: checks, and conversion to logits for attacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.errors import DataError
from privbench.external import files, logits, probabilities, truth
from privbench.stats import intervals
from privbench.store.hashing import arrays_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.aliases import Array

SURE = 3.3
"""Standard errors from which a count of shadow memberships is reported to predict the target's: one file in 1,000."""
SUM_SLACK = probabilities.SUM_TOLERANCE
ONE_QUERY, ALIGNED = 2, 3
SHADOWS = ("shadow_logits", "shadow_probabilities", "shadow_membership")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one model, and of its shadow models if there are any.

    logits: (n, q, c) float32.
    labels: (n,) int64.
    member: (n,) bool.
    shadow_logits: (s, n, q, c) float32, with s >= 0.
    shadow_member: (s, n) bool.
    warnings: sentences on doubtful arrays.
    notes: sentences on conversions.
    """

    logits: Array
    labels: Array
    member: Array
    shadow_logits: Array
    shadow_member: Array
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the arrays in the form in which they are attacked."""
        names = ("logits", "labels", "member", "shadow_logits", "shadow_member")
        return arrays_sha256((name, getattr(self, name)) for name in names)


def predictions(found: Mapping[str, Any], name: str) -> Predictions:
    """Return checked arrays, found by the names in `files.ALIASES`. Raises DataError with the correction."""
    source = files.Found(found, name)
    kind, key, answers = source.get("logits", "probabilities")
    target = _queries(answers, f"{name}: {key}")
    shadow_kind, shadow_key, shadows = _shadows(source, target.shape, key, answers.shape)
    converted, warnings, notes = _logits(
        [(kind, f"{name}: {key}", target), (shadow_kind, f"{name}: {shadow_key}", shadows)]
    )
    if kind == "logits" and "probabilities" in source:
        warnings.insert(0, "both logits and probabilities are given; the logits are used.")
    member = _membership(source, key, answers.shape)
    shadow_member = _shadow_membership(source, shadows.shape)
    labels = _labels(source, key, answers.shape)
    warnings += [*_split(member, shadow_member, *converted), *source.shuffled(), *source.unused()]
    return Predictions(converted[0], labels, member, converted[1], shadow_member, tuple(warnings), tuple(notes))


def _queries(array: Array, where: str) -> Array:
    """Return predictions as (n, q, c)."""
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


def _logits(given: list[tuple[str, str, Array]]) -> tuple[list[Array], list[str], list[str]]:
    """Return the predictions of the target and of the shadows as float32 logits, with warnings and notes.

    given: (canonical name, name in messages, array).

    Raises DataError if the values contradict the name.
    """
    given = [_of_logs(*each) for each in given]
    out = [np.empty(array.shape, dtype=np.float32) for _, _, array in given]
    warnings, notes = [], []
    are_probabilities = [kind.endswith("probabilities") for kind, _, _ in given]
    for wanted in (True, False):
        rows = [i for i, each in enumerate(are_probabilities) if each == wanted and given[i][2].size]
        some = [given[i][1:] for i in rows]
        for where, array in some:
            logits.finite(array, where)
        if some and wanted:
            converted, said, noted = probabilities.as_logits(some)
            notes += noted
        elif some:
            converted, said = logits.as_float32(some)
            said += [text for i in rows for text in _misnamed(*given[i])]
        if some:
            warnings += said
            for i, array in zip(rows, converted, strict=True):
                out[i] = array
    return out, warnings, notes


def _of_logs(kind: str, where: str, array: Array) -> tuple[str, str, Array]:
    """Return log-probabilities that were clipped, or contain log(0), as probabilities; anything else unchanged."""
    if kind.endswith("probabilities") or not array.size or not array.max() <= SUM_SLACK:
        return kind, where, array
    p = np.exp(array.astype(np.float64))
    sums_to_one = not probabilities.is_off(p, p.sum(axis=-1)).any()
    if sums_to_one and any(probabilities.grain(model).is_coarse for model in p.reshape(-1, *p.shape[-3:])):
        return kind.replace("logits", "probabilities"), where, p
    return kind, where, array


def _misnamed(kind: str, where: str, array: Array) -> list[str]:
    """Return a warning about probabilities that are named logits."""
    # Non-negative numbers that sum to 1 in every row are the output of a softmax, not of a last layer.
    if array.min() < 0 or np.abs(array.sum(axis=-1, dtype=np.float64) - 1).max() > SUM_SLACK:
        return []
    right = kind.replace("logits", "probabilities")
    return [f"{where}: all rows sum to 1: if these are probabilities, save them as {right!r}."]


def _labels(source: files.Found, key: str, shape: tuple[int, ...]) -> Array:
    _, label_key, raw = source.get("labels")
    if len(raw) != shape[0]:
        raise DataError(f"{source.name}: {label_key} has shape {raw.shape}, but {key} has shape {shape}; both need n.")
    return truth.labels(raw, shape[-1], source.classes, f"{source.name}: {label_key}")


def _membership(source: files.Found, key: str, shape: tuple[int, ...]) -> Array:
    _, member_key, raw = source.get("membership")
    raw = raw[:, 0] if raw.shape == (shape[0], 1) else raw
    if raw.shape != shape[:1]:
        raise DataError(
            f"{source.name}: {member_key} has shape {raw.shape}, but {key} has shape {shape}; "
            f"expected {shape[:1]}, True for the examples that the model was trained on."
        )
    member = truth.membership(raw, f"{source.name}: {member_key}")
    if member.all() or not member.any():
        only, other = ("members", "was not") if member.all() else ("non-members", "was")
        raise DataError(
            f"{source.name}: {member_key} marks {only} only ({len(member)} of {len(member)}); no attack can be "
            f"evaluated without examples of both kinds. Add some that the model {other} trained on."
        )
    return member


def _shadows(source: files.Found, target: tuple[int, ...], key: str, shape: tuple[int, ...]) -> tuple[str, str, Array]:
    """Return the canonical name of the shadows' predictions, their name in the source, and the array (s, n, q, c).

    Without shadows, s = 0.

    target: shape of the target's predictions, with queries.
    shape: shape of the target's predictions as given.
    """
    if not any(each in source for each in SHADOWS):
        return "logits", "", np.empty((0, *target), dtype=np.float32)
    kind, shadow_key, answers = source.get(*SHADOWS[:2])
    found = answers[:, :, None] if answers.ndim == ALIGNED else answers
    if found.dtype.kind not in "fiu" or found.shape[1:] != target or not len(found):
        raise DataError(
            f"{source.name}: {shadow_key} is {answers.dtype} of shape {answers.shape}, but {key} has shape {shape}; "
            f"expected numbers of shape {('shadows', *shape)}."
        )
    return kind, shadow_key, found


def _shadow_membership(source: files.Found, shape: tuple[int, ...]) -> Array:
    if not shape[0]:
        return np.empty(shape[:2], dtype=bool)
    _, shadow_key, answers = source.get(*SHADOWS[:2])
    _, member_key, raw = source.get(SHADOWS[2])
    if raw.shape != shape[:2]:
        raise DataError(
            f"{source.name}: {member_key} has shape {raw.shape}, but {shadow_key} has shape {answers.shape}; "
            f"expected {shape[:2]}: which examples each shadow was trained on."
        )
    return truth.membership(raw, f"{source.name}: {member_key}")


def _split(member: Array, shadow_member: Array, logits: Array, shadows: Array) -> list[str]:
    """Return warnings about shadows whose memberships alone reveal the target's, without leakage of any model."""
    said = []
    for index, row in enumerate(shadow_member):
        if (row == member).all():
            same = " and its predictions are the target's too" if np.array_equal(shadows[index], logits) else ""
            said.append(f"shadow {index} has the target's own members{same}: an attacker cannot have it; leave it out.")
        elif (row != member).all():
            said.append(
                f"shadow {index} was trained on the complement of the target's members: counting shadow memberships "
                f"then identifies every member without any leakage. Leave the target's partner out."
            )
    n, inside = len(member), int(member.sum())
    auc = intervals.delong(shadow_member.sum(axis=0).astype(float), member)[0] if len(shadow_member) else 0.5
    if abs(auc - 0.5) > SURE * np.sqrt((n + 1) / (12 * inside * (n - inside))):
        said.append(
            f"how many shadows an example is a member of predicts the target's membership (AUC {auc:.3f}): a flaw of "
            f"the split that attacks may mistake for leakage, or that hides it. Draw the target's members separately."
        )
    return said
