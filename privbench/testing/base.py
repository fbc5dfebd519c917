"""Common parts of contract checks: the check itself, statistics, and the use of global random generators."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Check:
    """One promise that a component makes, and the test of it."""

    name: str
    description: str
    function: Callable[[], None] = field(repr=False)

    def run(self) -> None:
        """Raise AssertionError, with one line that names the fault, where the promise is broken."""
        self.function()

    def __call__(self) -> None:
        self.run()


def require(kept: object, fault: str) -> None:
    """Raise AssertionError with the fault, in one line, unless the promise is kept; also under `python -O`."""
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
    """Return the standard error of the AUC of scores that have nothing to do with membership (Mann-Whitney)."""
    n, members = len(member), int(member.sum())
    return math.sqrt((n + 1) / (12 * members * (n - members)))


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's correlation of two vectors; 1 where both are constant, 0 where only one is."""
    ranks = [np.unique(each, return_inverse=True, return_counts=True)[1:] for each in (a, b)]
    middle = [(np.cumsum(count) - (count - 1) / 2)[inverse] for inverse, count in ranks]
    constant = [bool(np.ptp(each) == 0) for each in middle]
    return float(all(constant)) if any(constant) else float(np.corrcoef(middle[0], middle[1])[0, 1])


def digest(arrays: Sequence[Array]) -> str:
    """Return a hash of dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@contextlib.contextmanager
def generators(seed: int, watched: str = "", device: str = "cpu") -> Iterator[None]:
    """Set the global generators of Python, NumPy and torch to a state of ours, and restore them afterwards.

    device: whose generator is torch's, too.

    Raises AssertionError where `watched` names who runs inside and they were used: what comes from them is different
    at every run. Watch a second run only; in the first, importing a library may use them.
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
        f"{watched} uses the global random generator of {' and '.join(used)}, so its results change from run to run "
        "and so do other people's; draw from the generators that it is given.",
    )


def default_generators(device: str) -> dict[str, torch.Generator]:
    """Return torch's global generators, of processors and of a card, by the names that messages have for them."""
    import torch

    found = {"torch": torch.default_generator}
    if device.startswith("cuda"):
        from privbench.learn.graphs import default_generator

        torch.cuda.init()  # before it a card has none
        found["torch on the card"] = default_generator(torch.device(device))
    return found


def _states(torchs: dict[str, torch.Generator]) -> dict[str, str]:
    legacy: Any = np.random.mtrand
    _, keys, *rest = legacy.get_state()
    return {
        "Python": str(hash(random.getstate())),
        "NumPy": digest([keys]) + str(rest),
        **{name: digest([generator.get_state().numpy()]) for name, generator in torchs.items()},
    }
