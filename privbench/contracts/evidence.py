"""Evidence: the view of an attack on one target, limited to its declared threat model (docs/design.md, rule 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from privbench.contracts.answers import Answers, LogitStack, Signal, read_only
from privbench.errors import UndeclaredEvidence
from privbench.seeds import numpy_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.contracts.context import Context
    from privbench.contracts.needs import Needs
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples

__all__ = ["Answered", "Answers", "Evidence", "LogitStack", "Signal"]

Query: TypeAlias = "Callable[[int | None, Array], Array]"
"""(a shadow's position, or None for the target; inputs) -> logits (m, c), or labels (m,)."""


class Answered:
    """Examples with the predictions of the target and the shadows, as far as they are declared.

    target: the target's logits; or only its predicted labels (n, q), or None, if an attack needs no more
    """

    def __init__(
        self,
        needs: Needs,
        labels: Array,
        target: Answers | Array | None,
        shadows: Sequence[Answers] = (),
        *,
        x: Array | None = None,
    ) -> None:
        self._needs, self._x = needs, x
        # Undeclared evidence is not stored, so private attributes hold no logits either.
        self._target = None if needs.answers != "logits" or isinstance(target, np.ndarray) else target
        self._labels_only = predicted(target) if needs.answers == "labels" else None
        self._shadows = tuple(shadows) if needs.shadows != "none" else ()
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
        """(n, q, c) float32: the target's logits; query 0 is the unmodified example."""
        return self._answers.logits

    @property
    def predictions(self) -> Array:
        """(n, q) int64: the target's predicted labels, all that a label-only attack gets."""
        self._require(answers="labels")
        return self._answers.logits.argmax(axis=-1) if self._labels_only is None else self._labels_only

    def signals(self, function: Signal) -> Array:
        """(n, q) float64: a per-example function of the target's logits."""
        return self._answers.signal(function)

    @property
    def shadow_logits(self) -> LogitStack:
        """(s, n, q, c) float32: the shadows' logits, read on indexing."""
        self._require(shadows=True)
        return LogitStack(self._shadows)

    def shadow_signals(self, function: Signal) -> Array:
        """(s, n, q) float64: a per-example function of each shadow's logits."""
        self._require(shadows=True)
        if not self._shadows:
            return np.empty((0, len(self.labels), self._queries))
        return np.stack([shadow.signal(function) for shadow in self._shadows])

    @property
    def _queries(self) -> int:
        """Number of aligned queries per example to the target; 1 without queries."""
        answered = self._labels_only if self._target is None else self._target.logits
        return 1 if answered is None else int(answered.shape[1])

    @property
    def _answers(self) -> Answers:
        self._require(answers="logits")
        assert self._target is not None
        return self._target

    def _require(self, *, answers: str | None = None, shadows: bool = False) -> None:
        if answers is not None and self._needs.answers not in ("logits", answers):
            seen = {"labels": "labels, no logits", "none": "no answers of a model"}[self._needs.answers]
            raise UndeclaredEvidence(f"This attack declares Needs(answers={self._needs.answers!r}), so it sees {seen}.")
        if shadows and self._needs.shadows == "none":
            raise UndeclaredEvidence("This attack does not declare Needs(shadows='adaptive').")


class Evidence(Answered):
    """The evidence about one target. Access that `needs` do not declare raises UndeclaredEvidence.

    shadow_member: (s, n) bool, whether each shadow was trained on each example
    """

    def __init__(
        self,
        needs: Needs,
        labels: Array,
        target: Answers | Array | None,
        shadows: Sequence[Answers] = (),
        shadow_member: Array | None = None,
        *,
        classes: int,
        x: Array | None = None,
        input_shape: tuple[int, ...] | None = None,
        reference: Answered | None = None,
        query: Query | None = None,
        model: Callable[[], nn.Module] | None = None,
        synthetic: Examples | None = None,
        shadow_synthetic: Callable[[int], Examples | None] | None = None,
        task: Blueprint | None = None,
        ctx: Context | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(needs, labels, target, shadows, x=x if needs.examples else None)
        self.classes = classes
        self.input_shape = input_shape or (() if x is None else tuple(x.shape[1:]))
        """Shape of one input as in `Examples.x`: (height, width, channels) or (features,); it is public."""
        self._seed, self._shadow_member = seed, shadow_member
        self._reference = reference if needs.reference else None
        self._query = _answering(query, needs) if needs.query and query is not None else None
        self._model = model if needs.model else None
        self._synthetic, self._shadow_synthetic = (synthetic, shadow_synthetic) if needs.synthetic else (None, None)
        self._task, self._ctx = (task, ctx) if needs.training else (None, None)

    @property
    def shadow_member(self) -> Array:
        """(s, n) bool: whether each shadow was trained on each example."""
        self._require(shadows=True)
        if self._shadow_member is None:
            raise UndeclaredEvidence("This target has no shadows.")
        return read_only(self._shadow_member)

    @property
    def reference(self) -> Answered:
        """The attacker's own labelled examples, disjoint from the pool, with the models' predictions on them."""
        if self._reference is None:
            raise UndeclaredEvidence("This attack does not declare Needs(reference=True).")
        return self._reference

    def query(self, x: Array) -> Array:
        """Return the target's predictions on inputs of the attacker's choice: (m, c) logits, or (m,) labels."""
        self._require(answers="labels")
        return self._ask(None, x)

    def shadow_query(self, shadow: int, x: Array) -> Array:
        """Return one shadow's logits (m, c) for inputs of the attacker's choice."""
        self._require(shadows=True)
        return self._ask(shadow, x)

    @property
    def model(self) -> nn.Module:
        """The released model, for white-box attacks."""
        if self._model is None:
            raise UndeclaredEvidence("This attack does not declare Needs(model=True).")
        return self._model()

    @property
    def synthetic(self) -> Examples | None:
        """The published synthetic examples, if any."""
        if not self._needs.synthetic:
            raise UndeclaredEvidence("This attack does not declare Needs(synthetic=True).")
        return self._synthetic

    def shadow_synthetic(self, shadow: int) -> Examples | None:
        """Return the synthetic examples that one shadow publishes, if any."""
        self._require(shadows=True)
        if self._shadow_synthetic is None:
            raise UndeclaredEvidence("This attack does not declare Needs(synthetic=True).")
        return self._shadow_synthetic(shadow)

    @property
    def task(self) -> Blueprint:
        """Architecture and recipe of the task, for attacks that train models."""
        if self._task is None:
            raise UndeclaredEvidence("This attack does not declare Needs(training=True).")
        return self._task

    @property
    def ctx(self) -> Context:
        """The context for such training: `train(evidence.task, examples, evidence.ctx.stage("name"))`.

        `ctx.kept` stores trained models. The context is the same for every target, so that models trained on the same
        data are trained once.
        """
        if self._ctx is None:
            raise UndeclaredEvidence("This attack does not declare Needs(training=True).")
        return self._ctx

    def rng(self, purpose: str = "attack") -> np.random.Generator:
        """Return a random generator for the attack, seeded by run and target; use no other."""
        return numpy_generator(self._seed, "attack", purpose)

    def _ask(self, shadow: int | None, x: Array) -> Array:
        if self._query is None:
            raise UndeclaredEvidence("This attack does not declare Needs(query=True).")
        return self._query(shadow, x)


def predicted(target: Answers | Array | None) -> Array | None:
    """Return (n, q) int64, read-only: the labels that a target predicts."""
    if target is None:
        return None
    return read_only(target if isinstance(target, np.ndarray) else target.logits.argmax(axis=-1))


def _answering(query: Query, needs: Needs) -> Query:
    """Return a query function as declared: labels only, if the attack declares no more."""
    if needs.answers == "logits":
        return query

    def labels_of_the_target(shadow: int | None, x: Array) -> Array:
        logits = query(shadow, x)
        return logits if shadow is not None else np.asarray(logits.argmax(axis=-1))

    return labels_of_the_target
