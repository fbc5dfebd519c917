"""Evidence: what an attack may see of one target, and no more than its threat model declares (DESIGN rule 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.answers import Answers, Array, LogitStack, Signal, read_only
from privbench.errors import UndeclaredEvidence
from privbench.seeds import numpy_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from privbench.api import Needs
    from privbench.data import Examples

__all__ = ["Answered", "Answers", "Evidence", "LogitStack", "Signal"]


class Answered:
    """Examples with the target's and the shadows' answers on them, as far as they are declared."""

    def __init__(
        self,
        needs: Needs,
        labels: Array,
        target: Answers,
        shadows: Sequence[Answers] = (),
        *,
        x: Array | None = None,
    ) -> None:
        self._needs, self._x, self._target, self._shadows = needs, x, target, tuple(shadows)
        self.labels = read_only(labels)
        """(n,) int64: true labels."""

    @property
    def x(self) -> Array:
        """Inputs, as in `Examples.x`. Needs `examples` (or, of the reference set, `reference`)."""
        if self._x is None:
            raise UndeclaredEvidence("This attack does not declare Needs(examples=True).")
        return read_only(self._x)

    @property
    def logits(self) -> Array:
        """(n, q, c) float32: the target's answers; query 0 is the example as it is."""
        self._require(answers="logits")
        return self._target.logits

    @property
    def predictions(self) -> Array:
        """(n, q) int64: the target's labels, all that a label-only attack gets of it."""
        self._require(answers="labels")
        return np.asarray(self._target.logits.argmax(axis=-1))

    def signals(self, function: Signal) -> Array:
        """(n, q) float64: a per-example function of the target's logits."""
        self._require(answers="logits")
        return self._target.signal(function)

    @property
    def shadow_logits(self) -> LogitStack:
        """(s, n, q, c) float32: the shadows' answers, read as they are indexed."""
        self._require(shadows=True)
        return LogitStack(self._shadows)

    def shadow_signals(self, function: Signal) -> Array:
        """(s, n, q) float64: a per-example function of each shadow's logits."""
        self._require(shadows=True)
        return np.stack([shadow.signal(function) for shadow in self._shadows])

    def _require(self, *, answers: str | None = None, shadows: bool = False) -> None:
        if answers is not None and self._needs.answers not in ("logits", answers):
            seen = {"labels": "labels, no logits", "none": "no answers of a model"}[self._needs.answers]
            raise UndeclaredEvidence(f"This attack declares Needs(answers={self._needs.answers!r}), so it sees {seen}.")
        if shadows and self._needs.shadows == "none":
            raise UndeclaredEvidence("This attack does not declare Needs(shadows='adaptive').")


class Evidence(Answered):
    """All that an attack may see of one target. Asking for what its `needs` do not declare raises UndeclaredEvidence.

    shadow_member: (s, n) bool, whether each shadow was trained on each example.
    """

    def __init__(
        self,
        needs: Needs,
        labels: Array,
        target: Answers,
        shadows: Sequence[Answers] = (),
        shadow_member: Array | None = None,
        *,
        classes: int,
        x: Array | None = None,
        reference: Answered | None = None,
        query: Callable[[int | None, Array], Array] | None = None,
        model: Callable[[], nn.Module] | None = None,
        synthetic: Examples | None = None,
        shadow_synthetic: Callable[[int], Examples | None] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(needs, labels, target, shadows, x=x if needs.examples else None)
        self.classes = classes
        self.input_shape: tuple[int, ...] = () if x is None else tuple(x.shape[1:])
        """Shape of one input as `Examples.x` has it: (height, width, channels) or (features,); it is public."""
        self._shadow_synthetic = shadow_synthetic
        self._shadow_member, self._reference, self._query = shadow_member, reference, query
        self._model, self._synthetic, self._seed = model, synthetic, seed

    @property
    def shadow_member(self) -> Array:
        """(s, n) bool: whether each shadow was trained on each example."""
        self._require(shadows=True)
        if self._shadow_member is None:
            raise UndeclaredEvidence("This target has no shadows.")
        return read_only(self._shadow_member)

    @property
    def reference(self) -> Answered:
        """The attacker's own labelled examples, disjoint from the pool, with everybody's answers on them."""
        if not self._needs.reference or self._reference is None:
            raise UndeclaredEvidence("This attack does not declare Needs(reference=True).")
        return self._reference

    def query(self, x: Array) -> Array:
        """Return the target's answers to inputs of the attacker's choice: (m, c) logits, or (m,) labels."""
        self._require(answers="labels")
        return self._ask(None, x)

    def shadow_query(self, shadow: int, x: Array) -> Array:
        """Return one shadow's logits (m, c) for inputs of the attacker's choice."""
        self._require(shadows=True)
        return self._ask(shadow, x)

    @property
    def model(self) -> nn.Module:
        """The released model, for white-box attacks."""
        if not self._needs.model or self._model is None:
            raise UndeclaredEvidence("This attack does not declare Needs(model=True).")
        return self._model()

    @property
    def synthetic(self) -> Examples | None:
        """The synthetic examples that the defense publishes, if it publishes any."""
        if not self._needs.synthetic:
            raise UndeclaredEvidence("This attack does not declare Needs(synthetic=True).")
        return self._synthetic

    def shadow_synthetic(self, shadow: int) -> Examples | None:
        """Return the synthetic examples that one shadow publishes, if it publishes any."""
        self._require(shadows=True)
        if not self._needs.synthetic or self._shadow_synthetic is None:
            raise UndeclaredEvidence("This attack does not declare Needs(synthetic=True).")
        return self._shadow_synthetic(shadow)

    def rng(self, purpose: str = "attack") -> np.random.Generator:
        """Return a generator of the attack's own, seeded by run and target; use no other."""
        return numpy_generator(self._seed, "attack", purpose)

    def _ask(self, shadow: int | None, x: Array) -> Array:
        if not self._needs.query or self._query is None:
            raise UndeclaredEvidence("This attack does not declare Needs(query=True).")
        logits = self._query(shadow, x)
        if shadow is None and self._needs.answers == "labels":
            return np.asarray(logits.argmax(axis=-1))
        return logits
