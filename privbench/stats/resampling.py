"""Bootstrap samples of examples: the number of draws of each example, in each of many samples.

Examples are drawn with their scores under all targets. The samples depend on the run's seed and the number of examples
alone, so that all attacks on one population use the same ones and their results can be compared.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from privbench.seeds import numpy_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privbench.aliases import Array

CHUNK = 64
"""Samples per chunk; more would only take memory."""
KEPT = 20_000_000
"""Largest number of counts cached for the next attack: 40 MB; for larger pools they are redrawn."""


def multiplicities(trials: tuple[Array, Array], resamples: int, seed: int, *purpose: object) -> Iterator[Array]:
    """Yield (chunk, examples) counts, `resamples` rows in total, each with members and non-members.

    trials: (examples,) number of targets with each example as a member, and as a non-member
    """
    n = len(trials[0])
    if n * resamples <= KEPT:
        drawn = _drawn(n, resamples, seed, *purpose)
        if all((side > 0).all() or (drawn @ side).all() for side in trials):
            yield from (drawn[start : start + CHUNK] for start in range(0, resamples, CHUNK))
            return
    generator = numpy_generator(seed, *purpose)
    for start in range(0, resamples, CHUNK):
        yield np.stack([_two_sided(generator, trials) for _ in range(min(CHUNK, resamples - start))])


@functools.lru_cache(maxsize=2)
def _drawn(n: int, resamples: int, seed: int, *purpose: object) -> Array:
    generator = numpy_generator(seed, *purpose)
    drawn = np.stack([np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(resamples)])
    drawn = drawn.astype(np.uint16 if n < 2**16 else np.uint32)
    drawn.flags.writeable = False
    return drawn


def _two_sided(generator: np.random.Generator, trials: tuple[Array, Array]) -> Array:
    """Draw until there are members and non-members: few examples may all be on one side, which has no rates."""
    n = len(trials[0])
    while True:
        weights = np.bincount(generator.integers(n, size=n), minlength=n)
        if all(weights @ side for side in trials):
            return weights
