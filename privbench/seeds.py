"""Seeds: every random number follows from the run's seed and the name of its purpose.

Randomness that an attack must not be able to recompute, such as memberships, also follows from the run's salt: a text
that is empty, and thus public, unless a run requests a random one. Global generators are neither read nor changed
(docs/design.md, rule 7).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import numbers
import re
import secrets
import threading
from typing import TYPE_CHECKING

from privbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import torch


PUBLIC, RANDOM = "public", "random"
"""Names on the command line of the public salt, "", and of a fresh one."""
SALT_BYTES = 16

_turn = threading.RLock()
"""Held by the thread for which torch's global generators are seeded."""


class _Depth(threading.local):
    """The number of blocks of `seeded` that a thread is in."""

    blocks = 0

    def __enter__(self) -> None:
        """Enter a block."""
        self.blocks += 1

    def __exit__(self, *_error: object) -> None:
        """Leave a block."""
        self.blocks -= 1


_depth = _Depth()


def fresh_salt() -> str:
    """Return an unpredictable salt from the system's source of randomness: 32 hexadecimal digits."""
    return secrets.token_hex(SALT_BYTES)


def salt_of(text: str) -> str:
    """Return the salt for "public", "random" or 32 hexadecimal digits. Raises UsageError for anything else."""
    if text in ("", PUBLIC):
        return ""
    if text == RANDOM:
        return fresh_salt()
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * SALT_BYTES}}}", text):
        raise UsageError(
            f"--salt {text}: give {2 * SALT_BYTES} hexadecimal digits, {RANDOM!r} to draw some, or {PUBLIC!r}."
        )
    return text.lower()


def salted(salt: str) -> tuple[str, ...]:
    """Return a salt's part of a purpose: empty for the public salt, so that everybody gets the same numbers."""
    return (salt,) if salt else ()


def derive(seed: int, *purpose: object) -> int:
    """Return an independent 63-bit seed for one purpose: `derive(0, "pair", 3)`."""
    text = json.dumps([seed, *purpose], default=_plain)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *purpose: object) -> np.random.Generator:
    """Return NumPy's generator for one purpose."""
    import numpy as np

    return np.random.default_rng(derive(seed, *purpose))


def torch_generator(seed: int, *purpose: object) -> torch.Generator:
    """Return torch's CPU generator for one purpose: its draws do not depend on the device."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *purpose))


@contextlib.contextmanager
def seeded(seed: int, *purpose: object, device: str = "cpu") -> Iterator[None]:
    """Seed torch's global generators inside the block (for initialisers and dropout), and restore them after it.

    Other threads that want to seed them wait.
    """
    import torch

    kind = torch.device(device).type
    devices = {"cuda": range(torch.cuda.device_count()), "mps": range(1)}.get(kind, ())
    with _turn, _depth, torch.random.fork_rng(devices=devices, device_type=kind if devices else "cuda"):
        # torch.manual_seed would also seed every GPU, whose state a run on the CPU has not saved.
        (torch.manual_seed if devices else torch.default_generator.manual_seed)(derive(seed, *purpose))
        yield


def are_seeded() -> bool:
    """Return whether this thread is inside of `seeded`."""
    return _depth.blocks > 0


def _plain(value: object) -> object:
    """Convert NumPy's integers to Python's, so that `np.int64(3)` and `3` give the same seed."""
    return int(value) if isinstance(value, numbers.Integral) else str(value)
