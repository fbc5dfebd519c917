"""CycleGAN: unpaired translation between two sets of images (Zhu et al. 2017).

Zhu, Park, Isola & Efros, Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, ICCV 2017.

arrays = between(safe, risky, task, ctx, options, name="transform")         # trained once, kept in the store
net = generator(task, arrays, R2S, options, "transform")
moved = apply(net, x, task, ctx.device, "transform")
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from privbench.builtin.generative import cycle_gan_nets as nets
from privbench.builtin.generative import pixels
from privbench.builtin.generative.cycle_game import Game, Losses, Swaps, capacity, draw_swaps, step
from privbench.builtin.generative.cycle_gan_options import CURVE, R2S, S2R
from privbench.data import concatenate
from privbench.errors import Diverged
from privbench.learn import REPORT_SECONDS, Steps, adam, arrays_of, exact, load_arrays, rates
from privbench.seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples
    from privbench.builtin.generative.cycle_gan_options import CycleGanOptions


BETAS = (0.5, 0.999)
DRAWN_AT_ONCE = 50  # steps whose random numbers are drawn, and whose losses are checked, together
BATCH = 256


def between(
    safe: Examples,
    risky: Examples,
    task: Blueprint,
    ctx: Context,
    options: CycleGanOptions,
    *,
    name: str,
    share: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Array]:
    """Return the weights of both generators, under S2R and R2S, and the losses over training, under CURVE.

    Trained once and stored. CURVE is (parts, 4) float32, the mean Losses of each part of the training.
    safe, risky: the two domains, neither empty
    name: of the defense, for messages

    Raises BadOption for tables and for images that are too large, Diverged.
    """
    side, classes = pixels.canvas(task, name), task.classes * options.cycle_classes
    shaping = {
        "safe": len(safe),
        "lambda": options.lambda_cycle,
        "identity": options.identity,
        "matched": options.cycle_matched,
        "skip": options.cycle_skip,
        "conv": options.cycle_conv,
        "classes": classes,
        "steps": steps_of(options, max(len(safe), len(risky))),
        "batch": options.cycle_batch,
        "width": options.cycle_width,
        "lr": options.cycle_lr,
    }

    def make(inner: Context) -> dict[str, Array]:
        device = torch.device(inner.device)
        with inner.seeded("init"):
            game = new_game(task.shape[0], side, options, device, classes=classes)
        with exact(device):
            curve = _play(game, safe, risky, side, inner, options=options)
        return {**arrays_of(game.s2r, S2R), **arrays_of(game.r2s, R2S), CURVE: curve}

    return ctx.kept("cycle-gan", concatenate(safe, risky), shaping, make, model_free=True, share=share)


def steps_of(options: CycleGanOptions, larger: int) -> int:
    """Return the number of training steps. larger: examples of the larger domain, all of them an epoch."""
    if options.cycle_epochs is None:
        return options.cycle_steps
    return max(1, round(options.cycle_epochs * larger / options.cycle_batch))


def new_game(channels: int, side: int, options: CycleGanOptions, device: torch.device, *, classes: int = 0) -> Game:
    """Return fresh networks for a canvas, initialised from torch's global generator, and their optimisers.

    classes: their number if the critics see labels
    """
    s2r, r2s = (_generator(channels, side, options).to(device) for _ in range(2))
    width, conv = options.cycle_width, options.cycle_conv
    critics = (nets.discriminator(channels, side, width, conv=conv, classes=classes) for _ in range(2))
    critic_r, critic_s = (critic.to(device) for critic in critics)
    slots = 2 * capacity(options.cycle_batch)
    return Game(
        s2r,
        r2s,
        critic_r,
        critic_s,
        adam([*s2r.parameters(), *r2s.parameters()], betas=BETAS),
        adam([*critic_r.parameters(), *critic_s.parameters()], betas=BETAS),
        history=torch.zeros(slots, channels, side, side, device=device),
        labels=torch.zeros(slots, classes, device=device) if classes else None,
        lambda_cycle=options.lambda_cycle,
        identity=options.identity,
    )


def generator(
    task: Blueprint, arrays: Mapping[str, Array], which: str, options: CycleGanOptions, name: str
) -> nn.Module:
    """Return one trained generator, S2R or R2S, in eval mode on the CPU; arrays: from `between`."""
    with seeded(0, "overwritten"):  # initialisers use torch's global generator
        net = _generator(task.shape[0], pixels.canvas(task, name), options)
    return load_arrays(net, arrays, which)


def _generator(channels: int, side: int, options: CycleGanOptions) -> nn.Module:
    return nets.generator(channels, side, options.cycle_width, skip=options.cycle_skip, conv=options.cycle_conv)


def apply(net: nn.Module, x: Array, task: Blueprint, device: str | torch.device, name: str) -> Array:
    """Return the translation of images (n, height, width, channels) by a generator: the same shape, always uint8."""
    side, device = pixels.canvas(task, name), torch.device(device)
    net.to(device).eval()
    with torch.inference_mode(), exact(device):
        parts = [
            pixels.from_canvas(net(pixels.to_canvas(x[at : at + BATCH], side).to(device)), task.shape)
            for at in range(0, len(x), BATCH)
        ]
    return np.concatenate(parts) if parts else np.empty(x.shape, np.uint8)


def lr_at(lr: float, step: int, total: int) -> float:
    """Return the learning rate of one step, counted from 0: constant for the first half, then falling to almost 0."""
    return lr * min(1.0, 2 * (1 - step / total))


class Rows:
    """Draws the rows of batches from both domains, in pairs of one class if `matched` and some class is in both.

    Class frequencies are the mean of those of the two domains; without `matched` all rows are drawn uniformly.
    """

    def __init__(self, safe_y: Array, risky_y: Array, *, matched: bool) -> None:
        classes = max(safe_y.max(), risky_y.max()) + 1
        labels = (safe_y, risky_y)
        self.counts = [torch.from_numpy(np.bincount(y, minlength=classes)) for y in labels]
        self.orders = [torch.from_numpy(np.argsort(y, kind="stable")) for y in labels]
        shares = [counts / counts.sum() for counts in self.counts]
        shared = (shares[0] + shares[1]) * ((self.counts[0] > 0) & (self.counts[1] > 0))
        self.shares = shared if matched and bool(shared.any()) else None

    def draw(self, steps: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return row numbers of safe and of risky images, (steps, batch) int64 each."""
        if self.shares is None:
            safe, risky = (torch.randint(len(order), (steps, batch), generator=generator) for order in self.orders)
            return safe, risky
        label = torch.multinomial(self.shares, steps * batch, replacement=True, generator=generator).view(steps, batch)
        rows = []
        for counts, order in zip(self.counts, self.orders, strict=True):
            within = (torch.rand(steps, batch, generator=generator, dtype=torch.float64) * counts[label]).long()
            rows.append(order[(counts.cumsum(0) - counts)[label] + within])
        return rows[0], rows[1]


def _play(game: Game, safe: Examples, risky: Examples, side: int, ctx: Context, *, options: CycleGanOptions) -> Array:
    """Take all steps; return the curve."""
    device, batch, total = torch.device(ctx.device), options.cycle_batch, steps_of(options, max(len(safe), len(risky)))
    images = [_stored(examples, side).to(device) for examples in (safe, risky)]
    labels = [] if game.labels is None else [_one_hot(examples.y, game.labels) for examples in (safe, risky)]
    rows, generator = Rows(safe.y, risky.y, matched=options.cycle_matched), ctx.generator("batches")
    every = rates([lr_at(options.cycle_lr, at, total) for at in range(total)], device)
    sums = torch.zeros(len(Losses._fields), device=device)

    def one(rate: float | Tensor, safe_rows: Tensor, risky_rows: Tensor, *swaps: Tensor) -> None:
        batches = _batch(images[0], safe_rows), _batch(images[1], risky_rows)
        of = tuple(each.index_select(0, at) for each, at in zip(labels, (safe_rows, risky_rows), strict=False))
        sums.add_(torch.stack(step(game, *batches, Swaps(*swaps), rate, labels=of or None)))

    steps, curve, reported = Steps(device, "CycleGAN"), list[Tensor](), 0.0
    for start in range(0, total, DRAWN_AT_ONCE):
        done = min(start + DRAWN_AT_ONCE, total)
        drawn = *rows.draw(done - start, batch, generator), *draw_swaps(start, done - start, batch, generator)
        sums.zero_()
        steps.run(one, every[start:done], *(each.to(device) for each in drawn))
        curve.append(sums / (done - start))
        if done == total or time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            _check(torch.stack(curve).isfinite().all(dim=1).tolist(), total, options)
            ctx.progress(done / total)
    means: Array = torch.stack(curve).cpu().numpy()
    return means


def _check(finite: list[bool], total: int, options: CycleGanOptions) -> None:
    """Raise Diverged if a loss of a part of the training is not finite."""
    if all(finite):
        return
    start = finite.index(False) * DRAWN_AT_ONCE
    raise Diverged(
        f"CycleGAN diverged: a loss of steps {start + 1} to {min(start + DRAWN_AT_ONCE, total)} of {total} is not "
        f"finite; try a lower learning rate (cycle_lr={options.cycle_lr / 10:g})."
    )


def _stored(examples: Examples, side: int) -> Tensor:
    """Return images on their canvas as uint8, a quarter of the memory of the networks' inputs."""
    chunks = (examples.x[at : at + BATCH] for at in range(0, len(examples), BATCH))
    return torch.cat([pixels.to_canvas(x, side).add(1).mul(127.5).round().to(torch.uint8) for x in chunks])


def _one_hot(y: Array, like: Tensor) -> Tensor:
    """Return one-hot labels (n, classes) with the classes, type and device of others."""
    return torch.eye(like.shape[1], dtype=like.dtype)[torch.from_numpy(y)].to(like.device)


def _batch(images: Tensor, rows: Tensor) -> Tensor:
    return images.index_select(0, rows).float().div_(127.5).sub_(1)
