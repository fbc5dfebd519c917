"""Shadows of an attacker without its own generators: trained on the examples that the target published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privbench.errors import CellFailed
from privbench.options.fields import Composite, parts_of
from privbench.store.store import artifact_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from privbench.contracts.context import Context
    from privbench.contracts.release import Release
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples
    from privbench.population.composition import Chain
    from privbench.population.population import Population


@dataclass(frozen=True)
class ReleasedShadows(Composite):
    """A defense whose generator is replaced by the synthetic examples that one of its releases published.

    The attacker trains no GAN per shadow, but a population of shadows per target. Its shadows are biased: the target's
    synthetic examples bring information about the target's members into shadows trained without them. They are also
    closer to the target: they share its synthetic examples, where adaptive shadows have GANs of their own. On `digits`
    this attacker was stronger (see `leaderboards/`), so neither replaces the other.
    """

    population: Population
    """Whose release is attacked."""
    target: int

    @property
    def name(self) -> str:
        """Of the defense, as in messages."""
        return f"{self.population.defense.name} on what model {self.target} published"

    @property
    def parts(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Those of the imitated defense."""
        return parts_of(self.population.defense)

    @property
    def named(self) -> tuple[Any, ...]:
        """Those of the imitated defense's text."""
        defense = self.population.defense
        return defense.named if isinstance(defense, Composite) else (defense,)

    def cache_key(self, key_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG002 - is in the release's
        """Return what shapes a shadow: the release whose examples it takes, and with it the defense's key."""
        released = artifact_key("model", self.population.manifest(self.target))
        return {"released": released}

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train on a half of the pool and the published examples. Raises CellFailed where none were published."""
        synthetic = self.population.synthetic(self.target)
        if synthetic is None:
            raise CellFailed(f"Model {self.target} published no synthetic examples.")
        defense: Chain = self.population.defense
        return defense.reusing(synthetic).fit(task, examples, ctx)

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded."""
        model: nn.Module = self.population.defense.empty(task)
        return model
