"""DP-critic: train on what a WGAN-GP with a noisy critic generates, and on nothing else (Triastcyn & Faltings 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import Traits, component, option

if TYPE_CHECKING:
    from privbench.api import Blueprint, Context, Examples, Prepared
    from privbench.builtin.generative.wgan_gp import Settings


@component
class DPCritic:
    """DP-critic, a regulariser: training on the examples of a conditional WGAN-GP with a noisy critic, and no others.

    It gives no (epsilon, delta)-differential privacy. The noise enters before a linear head, so that the critic's
    gradient by its input, all that the generator ever learns of the members, is the same whatever the noise; only
    the head's weights are perturbed. Two clipped codes differ by up to 2 * clip, and what many steps add up to is not
    accounted; the paper itself says that its bound does not carry over to the generator.

    The defaults are for `digits`: fewer critic's steps, a learning rate of 5e-3, narrower nets, few steps.
    preset=paper has the paper's settings where it prints them (channels, kernels, latent size and steps it does not);
    preset=wgan-gp is WGAN-GP without clip and noise. Differs from the paper: the code is multiplied by numbers
    of the label's class before it is clipped, without which the label would only add a constant to what the critic
    says and the generator would not learn it; no SELU before the last tanh, which could not paint black behind it; the
    generator's weights are averaged over its last steps (not in preset=paper); images of 48 pixels stand on the canvas
    of 64.
    """

    name: ClassVar[str] = "dp-critic"
    paper: ClassVar[str] = (
        "Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, arXiv 1803.03148"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "n_critic": 5,
            "gan_steps": 20000,
            "gan_width": 64,
            "gan_batch": 64,
            "gan_lr": 1e-4,
            "gan_average": 0.0,
            "latent": 100,
        },
        "wgan-gp": {"sigma": 0.0, "clip": float("inf")},
    }

    sigma: float = option(
        1.5, "standard deviation of the noise on the critic's clipped code", ge=0, allow_inf_nan=False
    )
    clip: float = option(1.0, "largest norm of the critic's code; inf clips nothing", gt=0)
    code: int = option(64, "numbers in the critic's code", ge=1)
    gp_weight: float = option(10.0, "weight of the gradient penalty", ge=0, allow_inf_nan=False)
    n_critic: int = option(2, "critic's steps for each of the generator", ge=1)
    gan_steps: int = option(150, "generator's steps", ge=1)
    gan_width: int = option(32, "channels of the generator's first map", ge=1)
    gan_batch: int = option(64, "real images per critic's step", ge=1)
    gan_lr: float = option(5e-3, "learning rate of both nets", gt=0, allow_inf_nan=False)
    gan_average: float = option(0.95, "how much of the averaged generator stays in a step; 0 is no average", ge=0, lt=1)
    latent: int = option(32, "normals that an image is generated from", ge=1)
    ratio: float = option(1.0, "generated examples per member, exact per class", gt=0, allow_inf_nan=False)

    # No `reuse`: its models never see their half but through the generator, so that those of an attacker who reuses the
    # target's generated examples would depend on no half at all.

    @property
    def traits(self) -> Traits:
        """The generator learns from members, the released model from it alone; the cost is as measured on `digits`."""
        cost = self.gan_steps * (self.n_critic + 1) / 50
        return Traits(relative_cost=cost, from_members=True, trains_on_members=False)

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Prepared:
        """Generate, and return the generated examples alone, which are published too.

        The facts are those of `generative.quality`. Raises BadOption for tables, too large images, and a ratio that
        asks for nothing; Diverged.
        """
        from privbench.api import GRID, Examples, Prepared
        from privbench.builtin.generative import wgan_gp
        from privbench.builtin.generative.pixels import as_dtype, grid
        from privbench.builtin.generative.quality import quality
        from privbench.learn import load_arrays

        settings, labels = self._settings(task), self._labels(task, members)
        make = wgan_gp.maker(members, settings)
        kept = ctx.kept("wgan-gp", members, settings.options(), make, model_free=True)
        with ctx.seeded("nets"):
            generator, _ = wgan_gp.networks(settings)
        load_arrays(generator, kept)
        x = wgan_gp.sample(generator, labels, task.shape, ctx.generator("samples"), ctx.device)
        synthetic = Examples(x, labels)
        return Prepared(
            Examples(as_dtype(x, members.x.dtype), labels),
            synthetic,
            quality(members, synthetic),
            {GRID + "generated": grid(synthetic, task.classes)},
        )

    def _settings(self, task: Blueprint) -> Settings:
        from privbench.builtin.generative.pixels import canvas
        from privbench.builtin.generative.wgan_gp import Settings

        side = canvas(task, self.name)
        return Settings(
            sigma=self.sigma,
            clip=self.clip,
            code=self.code,
            gp_weight=self.gp_weight,
            n_critic=self.n_critic,
            steps=self.gan_steps,
            width=self.gan_width,
            batch=self.gan_batch,
            lr=self.gan_lr,
            average=self.gan_average,
            latent=self.latent,
            shape=tuple(task.shape),
            classes=task.classes,
            side=side,
        )

    def _labels(self, task: Blueprint, members: Examples) -> Any:
        """Return the labels to generate, class by class: ratio times as many as members, (n,) int64."""
        from privbench.builtin.generative.tac_gan import quantities

        return np.repeat(np.arange(task.classes, dtype=np.int64), quantities(task, members, self.ratio, self.name))
