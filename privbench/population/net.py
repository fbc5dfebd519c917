"""Architecture of released models: what a release is, apart from its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privbench import seeds
from privbench.contracts.abilities import BuildsEmpty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from privbench.aliases import Array
    from privbench.contracts.task import Blueprint


@dataclass(frozen=True)
class Net:
    """The architecture of released models."""

    task: Blueprint
    defense: Any
    """Builds the models, if they are not the task's own; else None."""
    device: str

    def filled(self, weights: Mapping[str, Array]) -> nn.Module:
        """Return a released model with these weights, in eval mode on the device."""
        import torch

        from privbench.learn.inference import classifier

        with seeds.seeded(0, "empty"):  # what an initialiser draws is overwritten, and touches nobody else's
            model: nn.Module = classifier(self.task) if self.defense is None else self.defense.empty(self.task)
        model.to(self.device).load_state_dict({name: torch.as_tensor(array) for name, array in weights.items()})
        return model.eval()


def net_of(task: Blueprint, defense: Any, device: str) -> Net:
    """Return the architecture of the released models of a defense."""
    return Net(task, defense if isinstance(defense, BuildsEmpty) else None, device)
