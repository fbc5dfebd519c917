"""What `gpu.py` times: each training as privbench does it, as a bare loop, and as a CUDA graph captured by hand.

Each way is a function of a number of units, epochs of a classifier or some steps of a GAN, which returns when the
device is done. privbench's is its own `train`, from fresh weights at each call. The bare loop has what a careful person
gives it: data on the device, inputs standardised once, fused optimisers, channels last, bfloat16 where privbench takes
it, torch's own choice of kernels. The graph has the same step, with the kernels that privbench takes, which sum in a
fixed order.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import bare_gans
import numpy as np
import torch
from torch.nn import functional

from privbench.api import Blueprint, Context, Examples
from privbench.builtin.generative import cycle_gan, tac_gan, wgan_gp
from privbench.builtin.generative.cycle_gan_options import CycleGanOptions
from privbench.builtin.generative.pixels import to_canvas
from privbench.builtin.generative.tac_gan import TacGanOptions
from privbench.builtin.generative.wgan_gp import Settings
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.learn.inference import exact
from privbench.learn.training import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Run: TypeAlias = Callable[[int], None]

CLASSES, SIDE, LR = 10, 8, 0.01
WARM = 5
"""Steps before a capture: what is made once is made, CycleGAN's history of images is full."""
EPOCHS = 20
"""Of the model that counts in models per hour."""
DP_CRITIC = {  # that defense's defaults
    "sigma": 1.5, "clip": 1.0, "code": 64, "gp_weight": 10.0, "n_critic": 2, "width": 32, "batch": 64, "lr": 5e-3,
    "latent": 32, "average": 0.95, "shape": (1, SIDE, SIDE), "classes": CLASSES, "side": SIDE,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One training. unit: examples of an epoch, or generator's steps; model: units of which a model is made."""

    kind: str
    batch: int
    shape: tuple[int, int, int]
    unit: int
    model: float

    @property
    def examples(self) -> int:
        """Examples that a unit takes, the real ones of a GAN's generator's steps."""
        return self.unit if self.kind in NETS else self.unit * self.batch


NETS = ("mlp", "cnn", "mobilenet_v3_small", "resnet18", "hivit_tiny")
ON_CARD = {
    "mlp": Case("mlp", 64, (1, 8, 8), 6400, EPOCHS),
    "cnn": Case("cnn", 64, (1, 28, 28), 6400, EPOCHS),
    "mobilenet_v3_small": Case("mobilenet_v3_small", 256, (3, 32, 32), 6400, EPOCHS),
    "resnet18": Case("resnet18", 128, (3, 32, 32), 6400, EPOCHS),
    "hivit_tiny": Case("hivit_tiny", 128, (3, 32, 32), 6400, EPOCHS),
    "tac-gan": Case("tac-gan", 32, (1, SIDE, SIDE), 50, 450 / 50),
    "cycle-gan": Case("cycle-gan", 64, (1, SIDE, SIDE), 50, 300 / 50),
    "wgan-gp": Case("wgan-gp", 64, (1, SIDE, SIDE), 32, 200 / 32),
}
QUICK = {
    name: Case(case.kind, 4, (case.shape[0], SIDE, SIDE), 4, EPOCHS)
    if name in NETS
    else Case(case.kind, case.batch, case.shape, 2, case.model * case.unit / 2)
    for name, case in ON_CARD.items()
}
"""Sizes that show on a CPU that all of it runs."""


def privbench(case: Case, device: str) -> Run:
    """Return privbench's own training."""
    ctx, examples = Context(device=device), noise(case, case.unit if case.kind in NETS else 640)
    blueprint = Blueprint(case.kind, Recipe(), case.shape, CLASSES, lambda: build(case.kind, case.shape, CLASSES))
    half = len(examples) // 2

    def run(units: int) -> None:
        steps = units * case.unit
        if case.kind == "tac-gan":
            tac_gan.train(blueprint, examples, ctx, TacGanOptions(gan_steps=steps), SIDE)
        elif case.kind == "cycle-gan":
            options = CycleGanOptions(cycle_steps=steps)
            cycle_gan.between(examples[:half], examples[half:], blueprint, ctx, options, name="benchmark")
        elif case.kind == "wgan-gp":
            wgan_gp.train(examples, Settings(steps=steps, **DP_CRITIC), ctx)
        else:
            train(blueprint, examples, ctx, recipe=Recipe(epochs=units, batch_size=case.batch, lr=LR))
        wait(device)

    return run


def bare(case: Case, device: str) -> Run:
    """Return the bare loop, which goes on from call to call."""
    step = _step(case, device, capturable=False)
    return _repeated(case, device, step)


def graph(case: Case, device: str) -> Run:
    """Return the replay of a graph of the bare loop's step. Raises what torch does where it cannot be captured."""
    with exact(torch.device(device)):
        step = _captured(_step(case, device, capturable=True), case, device)
    return _repeated(case, device, step)


def noise(case: Case, n: int) -> Examples:
    """Return random pixels with random labels."""
    rng, (channels, height, width) = np.random.default_rng(0), case.shape
    x = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    return Examples(x, rng.integers(0, CLASSES, n))


def wait(device: str) -> None:
    """Wait until a card is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def _repeated(case: Case, device: str, step: Callable[..., None]) -> Run:
    def run(units: int) -> None:
        for _ in range(units):
            if case.kind in NETS:
                for rows in torch.randperm(case.unit).to(device).split(case.batch):
                    step(rows)
            else:
                for _ in range(case.unit):
                    step()
        wait(device)

    return run


def _step(case: Case, device: str, *, capturable: bool) -> Callable[..., None]:
    torch.manual_seed(0)
    if case.kind in NETS:
        return _classifier(case, device)
    examples, how = noise(case, 640), {"tuned": True, "capturable": capturable}
    images, labels = to_canvas(examples.x, SIDE).to(device), torch.from_numpy(examples.y).to(device)
    if case.kind == "tac-gan":
        return bare_gans.tac_gan(images, labels, CLASSES, TacGanOptions(), **how)
    if case.kind == "cycle-gan":
        return bare_gans.cycle_game(images[:320], images[320:], CycleGanOptions(), **how)
    one_hot = functional.one_hot(labels, CLASSES).float()
    return bare_gans.dp_critic(images, one_hot, Settings(steps=1, **DP_CRITIC), **how)


def _classifier(case: Case, device: str) -> Callable[[Tensor], None]:
    examples = noise(case, case.unit)
    layout = torch.contiguous_format if case.kind == "mlp" else torch.channels_last
    x = torch.from_numpy(examples.x).to(device).permute(0, 3, 1, 2).float() / 255
    x = ((x - x.mean()) / x.std()).contiguous(memory_format=layout)
    y = torch.from_numpy(examples.y).to(device)
    net = build(case.kind, case.shape, CLASSES).to(device, memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4, fused=True)

    def step(rows: Tensor) -> None:
        optimizer.zero_grad()
        with _autocast(device):
            logits = net(x[rows])
        functional.cross_entropy(logits.float(), y[rows]).backward()
        optimizer.step()

    return step


def _autocast(device: str) -> contextlib.AbstractContextManager[object]:
    if torch.device(device).type != "cuda" or not torch.cuda.is_bf16_supported():
        return contextlib.nullcontext()
    found: contextlib.AbstractContextManager[object] = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
    return found


def _captured(step: Callable[..., None], case: Case, device: str) -> Callable[..., None]:
    """Return the replay of one step; the rows of its batch are copied to where it reads them."""
    static = [torch.arange(case.batch, device=device)] if case.kind in NETS else []
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            step(*static)
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded, stream=stream):
        step(*static)

    def replay(*rows: Tensor) -> None:
        for there, given in zip(static, rows, strict=True):
            there.copy_(given)
        recorded.replay()

    return replay
