"""Sets of examples that a user has: real, synthetic and held-out ones, read alike and made comparable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench import seeds
from privbench.data import Examples
from privbench.errors import DataError
from privbench.given import files
from privbench.tasks import arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Array: TypeAlias = npt.NDArray[Any]
Given: TypeAlias = "str | Path | Mapping[str, Any] | Examples | Array"

INPUTS = ("x", "data", "images", "samples", "x_train", "train_images")
LABELS = ("y", "labels", "y_train", "train_labels")
FEWEST = 4
"""Held-out examples: two non-members, and two for the attacker."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Real examples, a synthetic set that was made from them, and real ones that its generator never saw.

    members, outside, reference: rows of `real`, of `holdout`, and of `holdout`. As many members as there are examples
    outside; an attacker who needs examples of his own has the reference.
    """

    real: Examples
    synthetic: Examples
    holdout: Examples
    members: Array
    outside: Array
    reference: Array
    labels: Array | None
    """(n,) int64: those of the real examples, where they have any; attacks see labels only where all three sets do."""
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_image(self) -> bool:
        """Whether the examples are images rather than rows of a table."""
        return self.real.is_image

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the three sets and who plays which part."""
        sets = {"real": self.real, "synthetic": self.synthetic, "holdout": self.holdout}
        parts = [(f"{name} {axis}", getattr(each, axis)) for name, each in sets.items() for axis in "xy"]
        return files.fingerprint([*parts, ("members", self.members), ("outside", self.outside)])


def sets(real: Given, synthetic: Given, holdout: Given, seed: int) -> Sets:
    """Read and check three sets, and split the held-out one: half non-members, and the rest the attacker's.

    Raises DataError, saying what is wrong and what would be right.
    """
    names = {"real": real, "synthetic": synthetic, "holdout": holdout}
    found = {role: _examples(given, _called(role, given)) for role, given in names.items()}
    _same_kind({_called(role, given): found[role][0] for role, given in names.items()})
    labelled = all(y is not None for _, y in found.values())
    parts = {role: Examples(x, y if labelled and y is not None else _none(x)) for role, (x, y) in found.items()}
    sizes = {role: len(each) for role, each in parts.items()}
    if sizes["holdout"] < FEWEST or sizes["real"] < 2:  # noqa: PLR2004 - a comparison takes two
        raise DataError(
            f"{sizes['real']} real and {sizes['holdout']} held-out examples: give 2 or more real ones, and {FEWEST} "
            f"or more that the generator never saw."
        )
    count = min(sizes["real"], sizes["holdout"] // 2)
    shuffled = seeds.numpy_generator(seed, "given", "holdout").permutation(sizes["holdout"])
    members = seeds.numpy_generator(seed, "given", "members").permutation(sizes["real"])[:count]
    warnings, notes = _copies(parts["real"].x, parts["synthetic"].x, parts["holdout"].x)
    if not labelled and any(y is not None for _, y in found.values()):
        without = " and ".join(role for role, (_, y) in found.items() if y is None)
        notes.append(f"Attacks see no labels: the {without} examples have none.")
    notes.append(
        f"Members are {_of(count, sizes['real'])} real examples, non-members {count} of {sizes['holdout']} held-out "
        f"ones; the other {sizes['holdout'] - count} are the attacker's own (seed {seed})."
    )
    rows = np.sort(members), np.sort(shuffled[:count]), np.sort(shuffled[count:])
    return Sets(
        parts["real"], parts["synthetic"], parts["holdout"], *rows, found["real"][1], tuple(warnings), tuple(notes)
    )


def exact(x: Array, among: Array) -> Array:
    """Return (n,) bool: whether each input is also among the others, bit for bit."""
    known = set(_digests(among))
    return np.array([digest in known for digest in _digests(x)], dtype=bool)


def _digests(x: Array) -> Iterator[bytes]:
    """Yield a hash of each input: of large sets the inputs themselves would be a second copy."""
    for row in x:
        plain = row + np.zeros(1, row.dtype) if row.dtype.kind == "f" else row  # -0.0 equals 0.0
        yield hashlib.blake2b(np.ascontiguousarray(plain).data, digest_size=16).digest()


def _called(role: str, given: Given) -> str:
    return f"{role} ({Path(given).name})" if isinstance(given, (str, Path)) else role


def _of(count: int, total: int) -> str:
    return f"all {total}" if count == total else f"{count} of {total}"


def _none(x: Array) -> Array:
    return np.zeros(len(x), dtype=np.int64)


def _examples(given: Given, name: str) -> tuple[Array, Array | None]:
    """Return inputs as `Examples.x` has them, and labels where there are any."""
    if isinstance(given, Examples):
        return given.x, given.y
    if isinstance(given, (str, Path)):
        path = Path(given).expanduser()
        if path.is_dir():
            from privbench.given.pictures import folder

            return folder(path, name)[0], None
        given = {"x": _single(path)} if path.suffix == ".npy" else files.read(path)
    if isinstance(given, np.ndarray):
        given = {"x": given}
    by_name = {key.lower(): key for key in given}
    key = next((by_name[each] for each in INPUTS if each in by_name), None)
    if key is None:
        listing = ", ".join(map(str, given)) or "none"
        raise DataError(f"{name}: no array 'x'; call the examples x, and labels, if any, y. Found: {listing}.")
    x = arrays.inputs(np.asarray(given[key]), name, key)
    if not x.size:
        raise DataError(f"{name}: {key} has shape {x.shape}; there are no examples in it.")
    if x.dtype != np.uint8 and not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).sum())
        raise DataError(f"{name}: {bad} of {len(x)} inputs hold NaN or infinity; remove or repair them.")
    label = next((by_name[each] for each in LABELS if each in by_name), None)
    if label is None:
        return x, None
    y = arrays.labels(np.asarray(given[label]), name, label)
    if len(y) != len(x) or y.min() < 0:
        raise DataError(f"{name}: {key} has shape {x.shape}, {label} {y.shape}; give one class from 0 per example.")
    return x, y


def _single(path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except ValueError:
        raise DataError(f"{path} holds pickled objects, which are never loaded; save an array of numbers.") from None
    except files.UNSOUND:
        raise DataError(f"{path}: no such file, or no readable .npy file; write it with numpy.save.") from None
    return array


def _same_kind(found: Mapping[str, Array]) -> None:
    """Raise DataError where sets differ in shape or type."""
    (first, x), *others = found.items()
    for name, other in others:
        if other.shape[1:] != x.shape[1:]:
            raise DataError(f"{name} has inputs of shape {other.shape[1:]}, {first} of {x.shape[1:]}; make them alike.")
        if other.dtype != x.dtype:
            raise DataError(
                f"{name} is {other.dtype}, {first} is {x.dtype}; save both alike: of images in [0, 1], "
                f"(255 * x).round().astype('uint8')."
            )


def _copies(real: Array, synthetic: Array, holdout: Array) -> tuple[list[str], list[str]]:
    """Return warnings and notes about inputs that are in two sets, bit for bit."""
    warnings, notes = [], []
    overlap = exact(holdout, real)
    if overlap.any():
        warnings.append(
            f"{int(overlap.sum())} of {len(holdout)} held-out examples are among the real ones: they are members too, "
            f"and hide what is found. Hold out examples that the generator never saw."
        )
    published, control = exact(real, synthetic), exact(holdout, synthetic)
    if published.any():
        notes.append(
            f"{int(published.sum())} of {len(real)} real examples are published bit for bit: exact copies, a leak "
            f"whatever the attacks say (of {len(holdout)} held-out examples {int(control.sum())} are)."
        )
    return warnings, notes
