"""What every wrapper needs: ART with random numbers of ours, and estimators that hold no more than was declared."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Array = npt.NDArray[Any]


@contextlib.contextmanager
def lent_generators(seed: int) -> Iterator[None]:
    """Seed the global generators of NumPy and torch inside the block, and put them back as they were after it.

    ART, and the scikit-learn models that it builds, take no generator: they draw from NumPy's global one, and its
    neural attack model from torch's. Left alone, their scores would change from run to run; seeded and not put back,
    everybody else's would follow ours. Their warnings (convergence, deprecation) are about ART's defaults, which are
    what is asked for here, and stay inside.
    """
    from privbench.seeds import seeded

    legacy: Any = np.random.mtrand  # what `np.random.seed` and `np.random.rand` are methods of
    before = legacy.get_state()
    try:
        legacy.seed(seed % 2**32)
        with seeded(seed, "art"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        legacy.set_state(before)


def answered(answers: Array, classes: int) -> Any:
    """Return an ART classifier whose inputs are row numbers (n, 1), and whose answers are those rows of `answers`.

    answers: (n, classes) float, what the target said; an attack that declares no inputs thus hands ART none.
    """
    from art.estimators.classification import BlackBoxClassifier

    return BlackBoxClassifier(lambda rows: answers[rows[:, 0].astype(np.int64)], input_shape=(1,), nb_classes=classes)


def rows(count: int) -> Array:
    """Return the inputs that `answered` takes: (n, 1) float64, exact where ART's float32 would not be above 2**24."""
    return np.arange(count, dtype=np.float64)[:, None]
