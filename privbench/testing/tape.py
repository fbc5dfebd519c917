"""Tape of operations: a substitute for a CUDA graph without a card, with all decisions made in Python frozen.

Replays repeat the recorded operations, on the same storages, with the same numbers, and run no Python of the step. A
step that equals its replays thus meets the requirements of a graph; whether a card can record its kernels is not
tested.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from privbench.learn.graphs import LOOKS, address, cuda_graph, default_generator, whole, written
from privbench.learn.steps import RECORDERS, REFUSALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch._ops import OpOverload
    from typing_extensions import Self

    Call = tuple[OpOverload[..., Any], Sequence[Any], Mapping[str, Any], Any]


class Tape(TorchDispatchMode):
    """Records the operations inside it, and undoes what they did. Raises RuntimeError at one that waits for a card."""

    def __init__(self, generators: Sequence[torch.Generator] = ()) -> None:
        super().__init__()
        self._calls: list[Call] = []
        self._old: dict[int, tuple[Tensor, Tensor]] = {}
        self._made = set[int]()
        self._generators = [*generators, default_generator(torch.device("cpu"))]

    def __enter__(self) -> Self:
        """Begin."""
        self._states = [generator.get_state() for generator in self._generators]
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End, and put back what was there."""
        super().__exit__(*error)
        for tensor, value in self._old.values():
            tensor.copy_(value)
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)

    def __torch_dispatch__(
        self, func: OpOverload[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do and record one operation."""
        kwargs = kwargs or {}
        if str(func) in LOOKS:
            raise RuntimeError(f"a step {LOOKS[str(func)]}")
        for tensor in written(func, args, kwargs):
            if address(tensor) not in self._made and address(tensor) not in self._old:
                self._old[address(tensor)] = whole(tensor), whole(tensor).clone()
        before = {address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        if torch.Tag.inplace_view in func.tags:  # of the shape alone, which the calls after it are recorded with
            return func(*args, **kwargs)
        given = _as_they_are((args, kwargs))
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and address(leaf) not in before:
                self._made.add(address(leaf))
        self._calls.append((func, *given, _as_they_are(result)))
        return result

    def replay(self) -> None:
        """Do all of it again."""
        with torch.no_grad():
            for func, args, kwargs, result in self._calls:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and address(old) != address(new):
                        old.copy_(new)


def _as_they_are(values: Any) -> Any:
    """Return the tensors among values by themselves, so that nobody changes their shapes later."""
    return tree_map_only(Tensor, torch.Tensor.detach, values)


def tape(steps: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
    """Record steps, without doing them, on a tape, and return what replays it: a `Recorder` (privbench.learn.steps)."""
    recording = Tape(generators)
    with recording:
        steps()
    return recording.replay


class Counted:
    """What went on inside `taped`."""

    def __init__(self) -> None:
        self.recorded = 0
        """Graphs that would have been recorded."""
        self.replayed = 0
        """Times that one was replayed."""
        self.refused: list[str] = []
        """Why steps were run one by one, each time that it came up."""


@contextlib.contextmanager
def taped(device: str = "cpu") -> Iterator[Counted]:
    """Inside, loops on the CPU record their steps on tapes and replay them, as they do on a card with CUDA graphs.

    device: "cuda" for CUDA graphs themselves, counted.
    """
    counted, record = Counted(), cuda_graph if device == "cuda" else tape

    def counting(steps: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        replay = record(steps, generators)
        counted.recorded += 1

        def again() -> None:
            counted.replayed += 1
            replay()

        return again

    before = dict(RECORDERS)
    RECORDERS[device] = counting
    REFUSALS.append(counted.refused)
    try:
        yield counted
    finally:
        RECORDERS.clear()
        RECORDERS.update(before)
        REFUSALS.remove(counted.refused)


@contextlib.contextmanager
def one_by_one(*, as_recorded: bool = False) -> Iterator[None]:
    """Inside, no steps are recorded, on no device: what replays must equal.

    as_recorded: `recorded` (privbench.learn.steps) says yes of all devices, so that loops which prepare their steps for
    replays, by samples of one size say, do so here too.
    """
    before = dict(RECORDERS)
    RECORDERS.clear()
    RECORDERS.update(dict.fromkeys(("cpu", *before), None) if as_recorded else {})
    try:
        yield
    finally:
        RECORDERS.clear()
        RECORDERS.update(before)
