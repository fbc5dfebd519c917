"""Penultimate features of any model that ends in a linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from privbench.errors import BadOption

if TYPE_CHECKING:
    from torch import Tensor


class Penultimate:
    """Asks a model for its logits together with its features: the inputs of the linear layer that gives the logits.

    The layer is found in the first pass, as the one whose output is the model's answer, wherever it stands among the
    modules; all built-in models have one. Hooks are there for one pass only, so that nothing of them is
    left in what is released.
    """

    def __init__(self) -> None:
        self.layer: nn.Linear | None = None

    def __call__(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (b, classes) and features (b, width), as the model gives them. Raises BadOption."""
        passes: list[tuple[nn.Linear, Tensor, Tensor]] = []

        def watch(layer: nn.Linear, given: tuple[Tensor, ...], answer: Tensor) -> None:
            passes.append((layer, given[0], answer))

        watched = model.modules() if self.layer is None else [self.layer]
        hooks = [layer.register_forward_hook(watch) for layer in watched if isinstance(layer, nn.Linear)]
        try:
            logits = model(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        for layer, features, answer in passes:
            if answer is logits:
                self.layer = layer
                return logits, features
        raise BadOption(
            "the model's answer is not that of an nn.Linear, so it has no penultimate features; "
            "let a linear layer be its network's last."
        )
