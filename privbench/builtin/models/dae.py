"""An MLP on the code of a stacked denoising autoencoder (Vincent et al., JMLR 2010), as in Triastcyn & Faltings.

The encoder is trained on public data, before and independently of all other training; the classifier holds its weights
as buffers, so that they are released with the model and pass gradients to the input, but no optimiser changes them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from privbench.errors import Diverged
from privbench.learn import Normalised, Steps, adam, as_float, descend, mlp, to_inputs
from privbench.seeds import torch_generator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from privbench.aliases import Array
    from privbench.learn import Optimiser

    Layer: TypeAlias = tuple[Tensor, Tensor]  # weight (narrow, wide), bias (narrow,)

CODES = (256, 64)
"""Units of the encoder's layers; the paper states 64 codes, but not the layers before them."""
MASKED = 0.3
"""Share of the inputs of a layer that are set to 0, which is the mean of standardised pixels."""
STEPS, BATCH, LR = 800, 64, 2e-3  # of Adam, for each layer
CHUNK = 20  # steps whose batches are drawn together


class Encoder(nn.Module):
    """Standardised inputs (batch, ...) -> codes (batch, 64) in (0, 1). Its weights are buffers."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self._depth = len(layers)
        for i, (weight, bias) in enumerate(layers):
            self.register_buffer(f"weight{i}", weight.clone())
            self.register_buffer(f"bias{i}", bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        codes = x.flatten(1)
        for i in range(self._depth):
            codes = encode(codes, (self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")))
        return codes


def build(layers: Sequence[Layer], classes: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Return the encoder and, on its codes, a fresh MLP initialised from torch's global generator."""
    return nn.Sequential(Encoder(layers), *mlp.build((len(layers[-1][1]),), classes, hidden))


def pretrained(x: Array, seed: int) -> list[Layer]:
    """Return an encoder's layers, trained one after the other on the inputs of examples, each to undo masking noise.

    x: as in `Examples`; standardised here as in models

    Each layer is a sigmoid, its decoder is the transposed matrix, and the loss is the mean square. On the CPU; global
    generators are not used. Raises Diverged for non-finite weights.
    """
    inputs = to_inputs(x)
    normalised = Normalised(nn.Identity(), tuple(inputs.shape[1:]))
    normalised.fit(x)
    values, layers = normalised.standardise(as_float(inputs)).flatten(1), []
    for i, units in enumerate(CODES):
        layers.append(_layer(values, units, torch_generator(seed, "denoising autoencoder", i)))
        values = encode(values, layers[-1])
    if not all(bool(tensor.isfinite().all()) for layer in layers for tensor in layer):
        raise Diverged("dae_mlp: the autoencoder's weights are not finite; are there extreme values in the inputs?")
    return layers


def encode(x: Tensor, layer: Layer) -> Tensor:
    """Return the codes of one layer."""
    return functional.linear(x, *layer).sigmoid()


def step(layer: list[Tensor], optimiser: Optimiser, x: Tensor, kept: Tensor, rate: float) -> Tensor:
    """Take one step of denoising; return its loss.

    layer: weight, bias and the decoder's bias
    kept: 0 for masked inputs
    """
    weight, bias, back = layer
    restored = functional.linear(encode(x * kept, (weight, bias)), weight.t(), back)
    loss = functional.mse_loss(restored, x)
    descend(optimiser, loss, rate)
    return loss.detach()


def _layer(x: Tensor, units: int, generator: torch.Generator) -> Layer:
    """Return a layer, trained on the device of x. generator: on the CPU."""
    bound = math.sqrt(6 / (x.shape[1] + units))  # Glorot's, for a layer and its transpose
    weight = ((torch.rand(units, x.shape[1], generator=generator) * 2 - 1) * bound).to(x.device)
    layer = [weight, torch.zeros(units, device=x.device), x.mean(dim=0)]
    optimiser = adam(tensor.requires_grad_() for tensor in layer)

    def one(rows: Tensor, kept: Tensor) -> None:
        step(layer, optimiser, x.index_select(0, rows), kept.float(), LR)

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        return rows, torch.rand(BATCH, x.shape[1], generator=generator) >= MASKED

    steps = Steps(x.device, "denoising autoencoder")
    with torch.enable_grad():
        for _ in range(STEPS // CHUNK):
            drawn = zip(*(draw() for _ in range(CHUNK)), strict=True)
            steps.run(one, *(torch.stack(each).to(x.device) for each in drawn))
    return layer[0].detach(), layer[1].detach()
