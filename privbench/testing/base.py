"""Common parts of the contract checks: the class `Check`, statistics, and a watch on the global generators."""

from __future__ import annotations

import contextlib
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.store.hashing import arrays_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from privbench.aliases import Array


@dataclass(frozen=True)
class Check:
    """One clause of the contract of a component, with its test."""

    name: str
    description: str
    function: Callable[[], None] = field(repr=False)

    def run(self) -> None:
        """Raise AssertionError, with the fault in one line, if the clause is violated."""
        self.function()

    def __call__(self) -> None:
        self.run()


def require(kept: object, fault: str) -> None:
    """Raise AssertionError with the fault, in one line, unless `kept`; also under `python -O`."""
    if not kept:
        raise AssertionError(" ".join(fault.split()))


def auc(scores: Array, member: Array) -> float:
    """Return the area under the ROC curve, ties counting half. scores: (n,) finite; member: (n,) bool."""
    _, rank, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    members = int(member.sum())
    total = middle[rank][member].sum() - members * (members + 1) / 2
    return float(total / (members * (len(member) - members)))


def auc_se(member: Array) -> float:
    """Return the standard error of the AUC of scores that are independent of membership (Mann-Whitney)."""
    n, members = len(member), int(member.sum())
    return math.sqrt((n + 1) / (12 * members * (n - members)))


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's correlation of two vectors; 1 if both are constant, 0 if only one is."""
    ranks = [np.unique(each, return_inverse=True, return_counts=True)[1:] for each in (a, b)]
    middle = [(np.cumsum(count) - (count - 1) / 2)[inverse] for inverse, count in ranks]
    constant = [bool(np.ptp(each) == 0) for each in middle]
    return float(all(constant)) if any(constant) else float(np.corrcoef(middle[0], middle[1])[0, 1])


def digest(arrays: Sequence[Array]) -> str:
    """Return a hash of dtypes, shapes and bytes."""
    return arrays_sha256(enumerate(arrays))


@contextlib.contextmanager
def generators(seed: int, watched: str = "", device: str = "cpu") -> Iterator[None]:
    """Set the global generators of Python, NumPy and torch to a known state, and restore them afterwards.

    seed: seed of that state.
    watched: name of the code in the block, to check that it does not use the generators; "" for no check. Watch a
        second run only: in the first, the import of a library may use them.
    device: device whose torch generator is included.

    Raises AssertionError if `watched` code used a global generator, because its results differ in every run.
    """
    legacy: Any = np.random.mtrand  # the module-level functions, which `np.random.Generator` does not touch
    python, numpy = random.getstate(), legacy.get_state()
    torchs = default_generators(device)
    states = {name: generator.get_state() for name, generator in torchs.items()}
    try:
        random.seed(seed)
        legacy.seed(seed)
        for generator in torchs.values():
            generator.manual_seed(seed)
        before = _states(torchs)
        yield
        used = [name for name, state in _states(torchs).items() if state != before[name]]
    finally:
        random.setstate(python)
        legacy.set_state(numpy)
        for name, generator in torchs.items():
            generator.set_state(states[name])
    require(
        not (watched and used),
        f"{watched} uses the global random generator of {' and '.join(used)}, so its results, "
        "and those of other code, change from run to run; use the generators passed to it.",
    )


def default_generators(device: str) -> dict[str, torch.Generator]:
    """Return the global generators of torch, of the CPU and of a GPU, by their names in messages."""
    import torch

    found = {"torch": torch.default_generator}
    if device.startswith("cuda"):
        from privbench.learn.graphs import default_generator

        torch.cuda.init()  # before it, a GPU has none
        found["torch on the GPU"] = default_generator(torch.device(device))
    return found


def _states(torchs: dict[str, torch.Generator]) -> dict[str, str]:
    legacy: Any = np.random.mtrand
    _, keys, *rest = legacy.get_state()
    return {
        "Python": str(hash(random.getstate())),
        "NumPy": digest([keys]) + str(rest),
        **{name: digest([generator.get_state().numpy()]) for name, generator in torchs.items()},
    }
