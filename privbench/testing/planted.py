"""Planted evidence: random numbers with a leak of known size, to test attacks."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.api import Blueprint
from privbench.contracts.answers import Answers
from privbench.contracts.context import Context
from privbench.contracts.evidence import Answered, Evidence
from privbench.data.dataset import Examples
from privbench.options.fields import build
from privbench.seeds import numpy_generator
from privbench.testing.base import Array, require
from privbench.testing.toy import ToyTask

if TYPE_CHECKING:
    from torch import nn

    from privbench.api import Needs

SIDE = 8
"""Height and width of the images; one channel."""
SHARPNESS = 2.0
"""How fast a planted model forgets an example with the squared distance from it; random images lie about 10 apart."""


class Guarded(Evidence):
    """Evidence that does not let an attack reach around it."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") and not name.startswith("__"):
            frame = inspect.currentframe()
            caller = frame.f_back.f_globals.get("__name__") if frame and frame.f_back else ""
            require(
                caller in ("privbench.contracts.evidence", __name__),
                f"the attack reaches for evidence.{name}, which is none of its business; "
                "use what `needs` declares, by its public name.",
            )
        return super().__getattribute__(name)


@dataclass(frozen=True, eq=False)
class Planted:
    """Models of which the logits of the true class are `leak` standard deviations higher on members.

    Pairs of models have complementary members; model 0 is the target, its partner is no shadow.
    """

    needs: Needs
    leak: float
    models: int = 16
    examples: int = 200
    classes: int = 4
    seed: int = 0
    constant: bool = False
    """Whether all logits are 0: models that learnt nothing."""
    order: Array | None = None
    """Order in which the examples are shown."""
    shadow_order: Array | None = None
    """Order in which the shadows are shown."""
    attack_seed: int = 0
    """Seed of `evidence.rng`."""
    device: str = "cpu"
    """Where the white box is."""
    used: list[Array] = field(default_factory=list)
    """All arrays that were given to the attack, to check that they are unchanged."""

    def shown(self, **otherwise: Any) -> Planted:
        """Return the same models and examples, shown in another order or with another seed for the attack."""
        return replace(self, used=[], **otherwise)

    @cached_property
    def member(self) -> Array:
        """(n,) bool: the truth about the target."""
        member: Array = self._member[0][self._rows]
        return member

    def evidence(self) -> Evidence:
        """Return the target's evidence, as far as the needs go."""
        pool, rows, needs = self._pool, self._rows, self.needs
        shadows = np.arange(2, self.models) if needs.shadows != "none" else np.arange(0)
        if self.shadow_order is not None and len(shadows):
            shadows = shadows[self.shadow_order]
        shown = [0, *shadows]
        answers = self._answers(self._logits[shown][:, rows], pool.y[rows])
        reference = self._answers(self._reference_logits[shown], self._reference.y)
        shadow_member, x, reference_x = self._member[shadows][:, rows], pool.x[rows], self._reference.x
        self.used.extend((shadow_member, x, reference_x, pool.y, self._reference.y))
        return Guarded(
            needs,
            pool.y[rows],
            answers[0],
            answers[1:],
            shadow_member,
            classes=self.classes,
            x=x,
            reference=Answered(needs, self._reference.y, reference[0], reference[1:], x=reference_x),
            query=lambda shadow, asked: self._remembered(shown[0 if shadow is None else shadow + 1], asked),
            model=self._network,
            synthetic=self._synthetic_of(0),
            shadow_synthetic=lambda shadow: self._synthetic_of(int(shadows[shadow])),
            task=self._task,
            ctx=Context(self.attack_seed, self.device),
            seed=self.attack_seed,
        )

    @cached_property
    def _task(self) -> Blueprint:
        toy = build(ToyTask, {})
        shape = (1, SIDE, SIDE)
        network = functools.partial(toy.network, shape, self.classes)
        return Blueprint(toy.name, toy.recipe, shape, self.classes, build=network)

    def _answers(self, logits: Array, labels: Array) -> list[Answers]:
        self.used.extend((logits, labels))
        return [Answers(lambda each=each: each, labels) for each in logits]  # type: ignore[misc]

    @property
    def _rows(self) -> Array:
        return np.arange(self.examples) if self.order is None else self.order

    @cached_property
    def _member(self) -> Array:
        halves = np.empty((self.models, self.examples), dtype=bool)
        for pair in range(self.models // 2):
            order = numpy_generator(self.seed, "planted", "pair", pair).permutation(self.examples)
            halves[2 * pair] = order < self.examples // 2
        halves[1::2] = ~halves[::2]
        return halves

    @cached_property
    def _pool(self) -> Examples:
        return self._draw("pool", self.examples)

    @cached_property
    def _reference(self) -> Examples:
        return self._draw("reference", self.examples // 2)

    def _draw(self, what: str, count: int) -> Examples:
        rng = numpy_generator(self.seed, "planted", what)
        x = rng.integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
        return Examples(x, rng.permutation(np.arange(count, dtype=np.int64) % self.classes))

    @cached_property
    def _logits(self) -> Array:
        return self._plant("logits", self._pool.y, self._member)

    @cached_property
    def _reference_logits(self) -> Array:
        nobody = np.zeros((self.models, len(self._reference)), dtype=bool)
        return self._plant("reference logits", self._reference.y, nobody)

    def _plant(self, what: str, y: Array, member: Array) -> Array:
        """Return (models, n, q, c) float32: noise, and for the true class what the model remembers of it."""
        rng = numpy_generator(self.seed, "planted", what)
        queries = 2 if self.needs.queries == "task" else int(self.needs.queries)
        shape = (self.models, len(y), queries, self.classes)
        if self.constant:
            return np.zeros(shape, dtype=np.float32)
        logits = rng.normal(0, 0.5, (*member.shape, 1, self.classes)) + rng.normal(0, 0.2, shape)
        own = rng.normal(0, 0.5, len(y)) + rng.normal(1.5, 1.0, member.shape) + self.leak * (member - 0.5)
        np.put_along_axis(logits, y[None, :, None, None], 0.0, axis=-1)
        logits += own[:, :, None, None] * np.eye(self.classes)[y][None, :, None, :]
        return logits.astype(np.float32)

    # What the models answer to inputs of the attacker's choice: they remember examples, and blend the nearest ones.

    @cached_property
    def _keys(self) -> Array:
        return _flat(np.concatenate([self._pool.x, self._reference.x]))

    def _values(self, model: int) -> Array:
        return np.concatenate([self._logits[model, :, 0], self._reference_logits[model, :, 0]])

    def _remembered(self, model: int, x: Array) -> Array:
        asked = _flat(np.asarray(x))
        distance = (asked**2).sum(1)[:, None] - 2 * asked @ self._keys.T + (self._keys**2).sum(1)
        weight = np.exp(SHARPNESS * (distance.min(axis=1, keepdims=True) - distance))
        blended: Array = (weight / weight.sum(axis=1, keepdims=True)) @ self._values(model)
        return blended.astype(np.float32)

    def _network(self) -> nn.Module:
        from privbench.testing.memory import Memory

        return Memory(self._keys, self._values(0), SHARPNESS).to(self.device).eval()

    def _synthetic_of(self, model: int) -> Examples:
        """Near copies of a model's members, where there is a leak; else images that have nothing to do with them."""
        member = self._member[model]
        fresh = self._draw(f"synthetic {model}", int(member.sum()))
        if self.leak == 0 or self.constant:
            return fresh
        copies = self._pool[member]
        return Examples(((15 * copies.x.astype(np.uint16) + fresh.x) // 16).astype(np.uint8), copies.y)


def _flat(x: Array) -> Array:
    flat: Array = x.reshape(len(x), -1).astype(np.float64)
    return flat / 255 if x.dtype == np.uint8 else flat
