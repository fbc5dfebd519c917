"""Logits of models on a set of examples, read from disk only as far as they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from privbench.aliases import Array

Signal: TypeAlias = Callable[[Array, Array], Array]
"""A pure function of each example alone: logits (n, q, c) and labels (n,) -> (n, q). See `privbench.stats.signals`."""

CHUNK_BYTES = 64 * 2**20


class Answers:
    """One model's logits on one set of examples, read from disk on demand.

    load: returns logits (n, q, c) float32, usually memory-mapped
    labels: (n,) int64
    """

    def __init__(self, load: Callable[[], Array], labels: Array) -> None:
        self._load = load
        self.labels = read_only(labels)
        self._signals: dict[Signal, Array] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the logits themselves: another process gets no access to where they come from, except to a file."""
        load = self._load if isinstance(self._load, Mapped) else Held(self._load())
        return (Answers, (load, self.labels))

    @property
    def logits(self) -> Array:
        """(n, q, c) float32, read-only."""
        return read_only(self._load())

    def signal(self, function: Signal) -> Array:
        """Return (n, q) float64, computed once for all targets, in chunks to bound memory; read-only."""
        if function not in self._signals:
            logits = self.logits
            rows = max(1, CHUNK_BYTES // max(1, logits[:1].nbytes))
            parts = [
                np.asarray(function(logits[at : at + rows], self.labels[at : at + rows]), dtype=np.float64)
                for at in range(0, len(logits), rows)
            ]
            self._signals[function] = read_only(np.concatenate(parts))
        return self._signals[function]


class Held:
    """Logits in memory."""

    def __init__(self, logits: Array) -> None:
        self._logits = logits

    def __reduce__(self) -> tuple[Any, ...]:
        return (Held, (np.array(self._logits),))  # not a memory map, which knows its file

    def __call__(self) -> Array:
        """Return them."""
        return self._logits


class Mapped:
    """Logits in a file.

    file: path of an .npy
    """

    def __init__(self, file: str) -> None:
        self._file = file

    def __call__(self) -> Array:
        """Return them, memory-mapped."""
        logits: Array = np.load(self._file, mmap_mode="r", allow_pickle=False)
        return logits


class LogitStack:
    """The logits of several models, (s, n, q, c) float32, of which only the indexed part is read.

    `stack[:, 10:20]` reads ten examples of every model; `np.asarray(stack)` reads everything, and so does an index
    with arrays for several axes. Every index gives the same result as for NumPy's stacked array.
    """

    def __init__(self, answers: Sequence[Answers]) -> None:
        self._answers = tuple(answers)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(s, n, q, c)."""
        return (len(self._answers), *(self._answers[0].logits.shape if self._answers else ()))

    def __len__(self) -> int:
        return len(self._answers)

    def __getitem__(self, key: Any) -> Array:
        key = key if isinstance(key, tuple) else (key,)
        parts = _expanded(key, len(self.shape))
        if len(parts) < len(key) or not _model_by_model(parts):  # `...` separates indices even if it stands for no axis
            everything: Array = np.asarray(self)[key]
            return everything
        chosen = np.arange(len(self))[parts[0]]
        if np.ndim(chosen) == 0:
            one: Array = self._answers[int(chosen)].logits[parts[1:]]
            return one
        return self._stacked(chosen, parts[1:])

    def _stacked(self, chosen: Array, rest: tuple[Any, ...]) -> Array:
        if not self._answers:
            return np.empty((0,), dtype=np.float32)
        shape = self._answers[0].logits[rest].shape
        out = np.empty((len(chosen), *shape), dtype=np.float32)
        for at, index in enumerate(chosen):
            out[at] = self._answers[index].logits[rest]
        return out

    def __iter__(self) -> Iterator[Array]:
        return (answers.logits for answers in self._answers)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("The logits of several models cannot be stacked without copying them.")
        everything = self._stacked(np.arange(len(self)), ())
        return everything if dtype is None else everything.astype(dtype, copy=False)


def read_only(array: Array) -> Array:
    """Return a read-only view."""
    view: Array = array.view()
    view.flags.writeable = False
    return view


def _expanded(key: tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    """Replace `...` by slices."""
    for at, part in enumerate(key):
        if part is Ellipsis:
            return (*key[:at], *[slice(None)] * (axes - len(key) + 1), *key[at + 1 :])
    return key or (slice(None),)


def _model_by_model(key: tuple[Any, ...]) -> bool:
    """Whether indexing each model's array separately gives the same order of axes as the stacked array."""
    kinds = [_kind(part) for part in key]
    if "other" in kinds or kinds.count("array") > 1:
        return False
    if "array" not in kinds or kinds[0] == "array":
        return True
    # Next to an array, integers count as arrays too; a slice between them moves their common axis to the front.
    places = [place for place, kind in enumerate(kinds) if kind != "slice"]
    return places[-1] - places[0] == len(places) - 1


def _kind(part: Any) -> str:
    if isinstance(part, slice):
        return "slice"
    if isinstance(part, (bool, np.bool_)) or part is None or part is Ellipsis:
        return "other"
    return {0: "int", 1: "array"}.get(np.ndim(part), "other") if not np.isscalar(part) else "int"
