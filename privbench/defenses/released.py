"""Shadows of an attacker without a generator of his own: he trains on what the target published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privbench.errors import CellFailed
from privbench.options import spec
from privbench.store import artifact_key

if TYPE_CHECKING:
    from torch import nn

    from privbench.api import Blueprint, Context, Examples, Release
    from privbench.defenses.chain import Chain
    from privbench.population import Population


@dataclass(frozen=True)
class ReleasedShadows:
    """A defense whose generator is replaced by the synthetic examples that one release of it published.

    He trains no GAN per shadow, but a population of shadows per target. What he sees is biased: the target's synthetic
    examples bring what the target was trained on into shadows that were not (METHODS A7). It is also sharper: his
    shadows share the target's synthetic examples, where adaptive ones differ from it by GANs of their own. On `digits`
    that won (see `leaderboards/`), so neither attacker stands in for the other.
    """

    population: Population
    """Whose release is attacked."""
    target: int

    @property
    def name(self) -> str:
        """Of the defense, as in messages."""
        return f"{self.population.defense.name} on what model {self.target} published"

    @property
    def spec_text(self) -> str:
        """The text that builds the imitated defense."""
        return spec(self.population.defense)

    @property
    def cache_key(self) -> dict[str, Any]:
        """What shapes a shadow: the release whose examples it takes, and with that the defense's options and source."""
        released = artifact_key("model", self.population.manifest(self.target))
        return {"released": released, "spec": self.spec_text}

    @property
    def relative_cost(self) -> float:
        """Trainings of the task's model that one shadow takes."""
        return float(getattr(self.population.defense.trainer, "relative_cost", 1.0))

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


def publishes(defense: Any) -> bool:
    """Return whether a defense may publish synthetic examples: a data stage may, and training unless it says not."""
    parts = getattr(defense, "parts", (defense,))
    trains = [part for part in parts if hasattr(part, "fit")]
    return any(hasattr(part, "prepare") for part in parts) or any(
        getattr(part, "publishes_synthetic", True) for part in trains
    )


def why_not(defense: Any) -> str:
    """Return why shadows of a defense cannot be trained on what it publishes; "" where they can."""
    parts = getattr(defense, "parts", (defense,))
    if hasattr(parts[0], "reuse") and getattr(parts[0], "trains_on_members", True):
        return ""
    if getattr(parts[0], "from_members", False):
        return (
            f"{parts[0].name} trains its models on nothing but what it publishes, so shadows that were trained on the "
            "target's would not depend on their own half"
        )
    return f"{defense.name} publishes no synthetic examples"
