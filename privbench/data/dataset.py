"""Examples and data sets: arrays with disjoint roles (docs/design.md, rule 3)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.errors import DataError

if TYPE_CHECKING:
    from privbench.aliases import Array

ROLES = ("pool", "reference", "validation", "test")
IMAGE_DIMENSIONS = 4


def _no_rows() -> Array:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and labels.

    x: uint8 or float32, (n, height, width, channels) for images or (n, features) for tables
    y: int64, (n,)
    augment: (n,) bool, whether the recipe's augmentation may change each example; None: all of them
    """

    x: Array
    y: Array
    augment: Array | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise DataError(f"{len(self.x)} inputs, but {len(self.y)} labels: each input needs one label.")
        if self.augment is not None and self.augment.shape != (len(self.y),):
            raise DataError(f"{len(self.x)} inputs, but 'augment' is {self.augment.shape}: each input needs one value.")

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Any) -> Examples:
        return Examples(self.x[index], self.y[index], None if self.augment is None else self.augment[index])

    @property
    def is_image(self) -> bool:
        """Whether the inputs are images rather than rows of a table."""
        return bool(self.x.ndim == IMAGE_DIMENSIONS)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content."""
        return _sha256(self.x, self.y, *([] if self.augment is None else [self.augment]))


def concatenate(*parts: Examples) -> Examples:
    """Return the examples of several sets, in order."""
    augment = None
    if any(part.augment is not None for part in parts):
        augment = np.concatenate([np.ones(len(part), bool) if part.augment is None else part.augment for part in parts])
    return Examples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]), augment)


@dataclass(frozen=True, eq=False)
class Dataset:
    """All examples of a task, and the rows of each role.

    pool: members and non-members
    reference: for the attacker
    validation: for the defender
    test: for utility
    canaries: rows of the pool that represent the most exposed examples, and are evaluated separately
    twins: rows of the pool that canaries were copied from, excluded from all results (privbench.data.canaries)

    Raises DataError if two roles share a row, or if the data are no valid classification task.
    """

    examples: Examples
    classes: int
    pool: Array
    reference: Array
    validation: Array
    test: Array
    name: str = field(default="dataset", kw_only=True)
    canaries: Array = field(default_factory=_no_rows, kw_only=True)
    canary_kind: str = field(default="", kw_only=True)
    twins: Array = field(default_factory=_no_rows, kw_only=True)

    def __post_init__(self) -> None:
        check_arrays(self.examples, self.classes, self.name)
        last = len(self.examples) - 1
        for role in ROLES:
            rows = self.rows(role)
            if len(rows) and (not np.issubdtype(rows.dtype, np.integer) or rows.min() < 0 or rows.max() > last):
                raise DataError(f"{self.name}: role {role!r} must hold row numbers, integers from 0 to {last}.")
        rows = np.concatenate([self.rows(role) for role in ROLES])
        if len(np.unique(rows)) != len(rows):
            raise DataError(f"{self.name}: the roles {', '.join(ROLES)} share examples; they must be disjoint.")
        apart = np.concatenate([self.canaries, self.twins])
        if len(np.unique(apart)) != len(apart) or not np.isin(apart, self.pool).all():
            raise DataError(f"{self.name}: canaries and their twins must be different rows of the pool.")

    def rows(self, role: str) -> Array:
        """Return the row indices of one role."""
        rows: Array = getattr(self, role)
        return rows

    def role(self, role: str) -> Examples:
        """Return the examples of one role."""
        return self.examples[self.rows(role)]

    def shared(self, role: str) -> Examples:
        """Return the examples of one role, copied once for all readers: their arrays are read-only."""
        if role not in self._shared:
            examples = self.role(role)
            for array in (examples.x, examples.y):
                array.flags.writeable = False
            self._shared[role] = examples
        return self._shared[role]

    @cached_property
    def _shared(self) -> dict[str, Examples]:
        return {}

    @cached_property
    def is_canary(self) -> Array:
        """Whether each pool example is a canary, (pool,) bool."""
        return np.isin(self.pool, self.canaries)

    @cached_property
    def is_ordinary(self) -> Array:
        """Whether each pool example is neither a canary nor a twin, (pool,) bool."""
        return ~self.is_canary & ~np.isin(self.pool, self.twins)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model input: (channels, height, width) or (features,)."""
        shape = self.examples.x.shape[1:]
        return (shape[2], shape[0], shape[1]) if self.examples.is_image else tuple(shape)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the content and the roles: changed data never match an old model."""
        apart = [self.canaries, self.twins] if len(self.canaries) else []
        return _sha256(self.examples.x, self.examples.y, *(self.rows(role) for role in ROLES), *apart)


def check_arrays(examples: Examples, classes: int, name: str) -> None:
    """Raise DataError, with the remedy, for arrays that are no valid classification task."""
    x, y = examples.x, examples.y
    if x.dtype not in (np.uint8, np.float32):
        raise DataError(f"{name}: inputs are {x.dtype}; convert them to uint8 (images) or float32.")
    if x.ndim not in (2, IMAGE_DIMENSIONS):
        raise DataError(f"{name}: inputs have shape {x.shape}; expected (n, height, width, channels) or (n, features).")
    if x.dtype == np.float32 and not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(axis=tuple(range(1, x.ndim))).sum())
        raise DataError(f"{name}: {bad} of {len(x)} inputs hold NaN or infinity; remove or repair them.")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{name}: labels are {y.dtype}; convert them to integers 0 to classes - 1.")
    present = np.unique(y)
    if len(present) < 2:  # noqa: PLR2004
        raise DataError(f"{name}: all {len(y)} labels are the same class; classification needs at least two.")
    if present[0] < 0 or present[-1] >= classes:
        raise DataError(f"{name}: labels run from {present[0]} to {present[-1]}, but must lie in 0 to {classes - 1}.")
    if len(y) < classes:
        raise DataError(f"{name}: {len(y)} examples for {classes} classes; at least one per class is needed.")


def _sha256(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
