"""TAC-GAN: an auxiliary-classifier GAN whose twin classifier corrects its bias to easy examples.

Gong, Xu, Li, Zhang & Batmanghelich, Twin Auxiliary Classifiers GAN, NeurIPS 2019. Defenses call `fakes`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from privbench.api import option

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import Tensor, nn

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples
    from privbench.builtin.generative.tac_gan_step import Gan


Variant: TypeAlias = Literal["tac-gan", "ac-gan"]

CHUNK = 50
"""Steps whose random numbers are drawn, and moved to the device, together."""
SAMPLES = 256
"""Images generated per batch."""
STANDING = 32
"""Batches, of the training size, to estimate BatchNorm's statistics for the averaged weights."""


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TacGanOptions:
    """The options of a TAC-GAN and of its generated examples; the defaults suit `digits`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # The authors' CIFAR script. 500 epochs of 50,000 images, with 2 x 100 per generator step, are 125,000 steps.
        "paper": {
            "gan_steps": 125_000,
            "gan_width": 64,
            "gan_batch": 100,
            "gan_lr": 2e-4,
            "d_steps": 2,
            "ema": 0.9999,
            "ema_start": 10_000,
            "latent": 128,
        }
    }

    ratio: float = option(1.0, "generated examples per real one, in each class", gt=0)
    gan_loss: Variant = option("tac-gan", "with the twin classifier, or the plain auxiliary-classifier loss without it")
    gan_steps: int = option(450, "steps of the generator", ge=1)
    gan_width: int = option(8, "channels of both networks, in the unit of BigGAN's `ch`", ge=1)
    gan_batch: int = option(32, "images per step", ge=2)
    gan_lr: float = option(2e-3, "learning rate of both networks (Adam, betas 0 and 0.999)", gt=0)
    d_steps: int = option(1, "discriminator steps per generator step", ge=1)
    lambda_c: float = option(1.0, "weight of the classifiers", ge=0)
    ema: float = option(0.99, "decay of the averaged generator weights, which are used to generate", ge=0, lt=1)
    ema_start: int = option(100, "steps before the averaging starts", ge=0)
    latent: int = option(32, "dimensions of the noise", ge=1)


def fakes(
    task: Blueprint,
    members: Examples,
    ctx: Context,
    options: TacGanOptions,
    name: str,
    *,
    share: tuple[float, float] = (0.0, 1.0),
) -> Examples:
    """Train a TAC-GAN on the members, or load the stored one, and return generated examples, uint8, class by class.

    The result is the same for every defense with the same options: training and sampling are seeded by the key of the
    stored weights, not by `ctx`, and a larger `ratio` adds to each class.
    name: of the defense, for messages
    share: the part of the stage's progress

    Raises BadOption for tables, too large images, and a ratio that gives no examples; Diverged.
    """
    from privbench.builtin.generative.pixels import canvas

    side, counts = canvas(task, name), quantities(task, members, options.ratio, name)

    def make(inner: Context) -> dict[str, Array]:
        return train(task, members, inner, options, side)

    shaping = {each.name: getattr(options, each.name) for each in fields(TacGanOptions) if each.name != "ratio"}
    # The number of classes determines the networks, but members need not include all of them.
    key = {**shaping, "classes": task.classes}
    kept = ctx.kept("tac-gan", members, key, make, model_free=True, share=share)
    return sample(task, kept, counts, options, side, device=ctx.device)


def quantities(task: Blueprint, members: Examples, ratio: float, name: str) -> Array:
    """Return the number of examples to generate for each class (classes,). Raises BadOption if it is 0 in total."""
    counts = per_class(members.y, task.classes, ratio)
    if not counts.sum():
        from privbench.errors import BadOption

        raise BadOption(f"{name!r}: ratio={ratio:g} of {len(members)} examples is none.")
    return counts


def per_class(y: Array, classes: int, ratio: float) -> Array:
    """Return the number of examples to generate for each class (classes,): ratio times its size, rounded.

    The sum is ratio * len(y), rounded half up; the largest remainders are rounded up, among equals the lower class.
    A class without members gets none. ratio is interpreted as a decimal number: 0.1 of 30 is 3.
    """
    exact = [Fraction(repr(float(ratio))) * int(count) for count in np.bincount(y, minlength=classes)]
    counts = [math.floor(each) for each in exact]
    missing = math.floor(sum(exact) + Fraction(1, 2)) - sum(counts)
    for label in sorted(range(classes), key=lambda label: counts[label] - exact[label])[:missing]:
        counts[label] += 1
    return np.array(counts, dtype=np.int64)


def networks(task: Blueprint, options: TacGanOptions, side: int) -> tuple[nn.Module, nn.Module]:
    """Return a fresh generator and discriminator, initialised from torch's global generator."""
    from privbench.builtin.generative import big_gan

    return big_gan.networks(side, task.shape[0], task.classes, width=options.gan_width, latent=options.latent)


def train(task: Blueprint, members: Examples, ctx: Context, options: TacGanOptions, side: int) -> dict[str, Array]:
    """Return the stored arrays of a TAC-GAN: the averaged generator's weights, and the seed of its samples.

    Labels are drawn uniformly from the classes of the members. Raises Diverged.
    """
    import torch

    from privbench.builtin.generative.big_gan import standing_statistics
    from privbench.builtin.generative.pixels import to_canvas
    from privbench.builtin.generative.tac_gan_step import Gan, fill, player
    from privbench.learn import arrays_of, exact

    device = torch.device(ctx.device)
    with ctx.seeded("init"):
        generator, discriminator = networks(task, options, side)
    trained = player(generator.to(device), options.gan_lr)
    average = trained.weights.detach().clone()
    gan = Gan(trained, player(discriminator.to(device), options.gan_lr), average)
    images, labels = to_canvas(members.x, side).to(device), torch.tensor(members.y, device=device)
    with exact(device):
        _fit(gan, images, labels, ctx, options)
        fill(generator, average)
        draws, batch = ctx.generator("standing"), options.gan_batch
        present = torch.from_numpy(np.unique(members.y))
        batches = [
            (torch.randn(batch, options.latent, generator=draws), _classes(present, (batch,), draws))
            for _ in range(STANDING)
        ]
        standing_statistics(generator, ((z.to(device), y.to(device)) for z, y in batches))
    seed = np.array(ctx.rng("samples").integers(2**63 - 1), dtype=np.int64)
    return {**arrays_of(generator, "generator."), "seed": seed}


def sample(
    task: Blueprint, kept: Mapping[str, Array], counts: Array, options: TacGanOptions, side: int, *, device: str
) -> Examples:
    """Return counts[c] generated examples of each class c, sorted by class: z from N(0, I), no truncation, uint8."""
    import torch

    from privbench.api import Examples
    from privbench.builtin.generative.pixels import from_canvas
    from privbench.learn import exact, load_arrays
    from privbench.seeds import seeded, torch_generator

    weights = {name: array for name, array in kept.items() if name != "seed"}
    with seeded(0, "overwritten"):  # initialisers use torch's global generator
        generator, _ = networks(task, options, side)
    generator = load_arrays(generator, weights, "generator.").to(device)
    y = np.repeat(np.arange(len(counts)), counts)
    parts = []
    with torch.inference_mode(), exact(torch.device(device)):
        for label in np.flatnonzero(counts):
            draws = torch_generator(int(kept["seed"]), "class", label)
            for first in range(0, int(counts[label]), SAMPLES):
                # Whole chunks are drawn, so that a larger ratio starts with the same noise.
                z = torch.randn(SAMPLES, options.latent, generator=draws)[: int(counts[label]) - first].to(device)
                classes = torch.full((len(z),), int(label), device=device)
                parts.append(from_canvas(generator(z, classes), task.shape))
    return Examples(np.concatenate(parts), y)


def _fit(gan: Gan, images: Tensor, labels: Tensor, ctx: Context, options: TacGanOptions) -> None:
    """Take all steps."""
    import torch

    from privbench.builtin.generative.tac_gan_step import step
    from privbench.learn import REPORT_SECONDS, Steps

    device, reported = images.device, time.monotonic()
    d_steps, batch = options.d_steps, options.gan_batch
    rows, draws = _rows(len(images), d_steps * batch, ctx.generator("batches")), ctx.generator("noise")
    present, total = labels.cpu().unique(), torch.zeros(2, device=device)

    def one(share: float | Tensor, real: Tensor, z: Tensor, y: Tensor) -> None:
        losses = step(
            gan, images[real], labels[real], z, y, lambda_c=options.lambda_c, variant=options.gan_loss, share=share
        )
        total.add_(losses)

    steps = Steps(device, "TAC-GAN")
    for first in range(0, options.gan_steps, CHUNK):
        chunk = min(CHUNK, options.gan_steps - first)
        real = torch.stack([next(rows) for _ in range(chunk)]).view(chunk, d_steps, batch)
        z = torch.randn(chunk, d_steps + 1, batch, options.latent, generator=draws)
        y = _classes(present, (chunk, d_steps + 1, batch), draws)
        done = first + chunk
        shares = torch.tensor([1 - options.ema if i >= options.ema_start else 1.0 for i in range(first, done)])
        steps.run(one, *(table.to(device) for table in (shares, real, z, y)))
        if done == options.gan_steps or time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            _check(total, f"within {done} steps", options)
            ctx.progress(done / options.gan_steps)
    _check(gan.average, "in its last step", options)  # the last losses were computed before it


def _check(values: Tensor, when: str, options: TacGanOptions) -> None:
    from privbench.errors import Diverged

    if not bool(values.isfinite().all()):
        raise Diverged(f"TAC-GAN diverged {when}; try a lower gan_lr ({options.gan_lr / 4:g}).")


def _rows(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield (size,) row indices without end, one random permutation of all after another."""
    import torch

    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(n, generator=generator)])
        yield waiting[:size]
        waiting = waiting[size:]


def _classes(present: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from the classes that are present."""
    import torch

    return present[torch.randint(len(present), shape, generator=generator)]
