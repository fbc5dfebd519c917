"""DP-AuGM: a privately trained encoder, and a classifier of the codes of public examples (Chen et al. 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from privbench.api import Release, Traits, component, option
from privbench.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from privbench.api import Blueprint, Context, Examples

    Array = npt.NDArray[Any]


@component
class DPAuGM:
    """DP-AuGM: an autoencoder trained on private inputs with DP-SGD, and a classifier of the codes of public examples.

    Released are the encoder and the classifier, whose inputs are encoded too; the decoder is discarded. The public
    labelled examples are the validation examples, of which there are few: on `digits`, 76. Private labels are never
    used. Only the encoder depends on the members, so epsilon (adding or removing one example; the number of members is
    public) covers the whole release, by post-processing (theorem 1 of Chen et al.).

    The networks and settings of Chen et al. were not available to us: two layers each way, convolutions from 16 pixels,
    a code of 64 dimensions, clip 1. The classifier is trained with the task's recipe, on encoded augmented inputs if
    the recipe augments. Inputs are standardised by the statistics of the public examples, which are not private.
    """

    name: ClassVar[str] = "dp-augm"
    paper: ClassVar[str] = "Chen et al., Differentially Private Data Generative Models, arXiv 1812.02274"
    traits: ClassVar[Traits] = Traits(relative_cost=5.0, publishes_synthetic=False)

    epsilon: float = option(8.0, "epsilon of the encoder; inf adds no noise", gt=0)
    delta: float = option(1e-5, "delta at which epsilon holds", gt=0, lt=1)
    clip: float = option(1.0, "largest norm of one example's gradient", gt=0, allow_inf_nan=False)
    rate: float = option(0.25, "probability that an example is in a step", gt=0, le=1)
    steps: int = option(100, "steps of the autoencoder", ge=1)
    lr: float = option(0.02, "learning rate of the autoencoder (Adam, cosine)", gt=0, allow_inf_nan=False)
    code: int = option(64, "dimensions of the code of an input", ge=1)
    width: int = option(64, "hidden units of the encoder without convolutions", ge=1)
    head_width: int = option(128, "hidden units of the classifier; 0 for a linear one", ge=0)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train the autoencoder on private inputs, then the classifier on public examples.

        Facts: `epsilon` at `delta`, `noise` (in units of clip), `public_examples`. Raises DataError where there are no
        public examples, Diverged.
        """
        import torch

        from privbench.learn import train
        from privbench_dp import accounting

        public = ctx.validation
        if public is None or not len(public):
            raise DataError("dp-augm: there are no validation examples, the public labelled data that it classifies.")
        noise = accounting.noise_for(self.epsilon, self.rate, self.steps, self.delta)
        kept = self._encoder(task, examples, public, ctx, noise)
        weights = {name: torch.from_numpy(array.copy()) for name, array in kept.items()}

        def build() -> nn.Module:
            net = self._net(task)
            net.encoder.load_state_dict(weights)
            net.encoder.requires_grad_(requires_grad=False)
            return net

        model = train(replace(task, build=build), public, ctx.stage("classifier", share=(0.9, 1.0)))
        facts = {
            "epsilon": accounting.epsilon(noise, self.rate, self.steps, self.delta),
            "delta": self.delta,
            "noise": noise,
            "public_examples": float(len(public)),
        }
        return Release(model, facts=facts)

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded: standardisation, encoder, classifier."""
        from privbench.learn import Normalised

        return Normalised(self._net(task), task.shape)

    def _net(self, task: Blueprint) -> nn.Sequential:
        from collections import OrderedDict

        from torch import nn

        from privbench_dp import autoencoders

        encoder = autoencoders.encoder(task.shape, self.width, self.code)
        return nn.Sequential(
            OrderedDict(encoder=encoder, head=autoencoders.head(self.code, self.head_width, task.classes))
        )

    def _encoder(
        self, task: Blueprint, members: Examples, public: Examples, ctx: Context, noise: float
    ) -> dict[str, Array]:
        """Return the encoder's weights by name, from the store where it has them; the decoder is not kept."""

        def make(inner: Context) -> dict[str, Array]:
            return train_encoder(self, task.shape, members, public, inner, noise=noise)

        options: dict[str, Any] = {
            "noise": noise,
            **{name: getattr(self, name) for name in ("clip", "rate", "steps", "lr", "code", "width")},
            "public": public.fingerprint,
            "shape": task.shape,
        }
        return ctx.kept("private encoder", members, options, make, model_free=True, share=(0.0, 0.9))


def train_encoder(
    settings: DPAuGM, shape: tuple[int, ...], members: Examples, public: Examples, ctx: Context, *, noise: float
) -> dict[str, Array]:
    """Train an autoencoder privately on the members' inputs, whose labels it never sees, and return its encoder.

    The loss of an example is the mean squared error of its standardised values.
    """
    from torch import Tensor, nn

    from privbench.learn import Normalised, as_float, to_inputs
    from privbench_dp import autoencoders
    from privbench_dp.sgd import fit_privately

    with ctx.seeded("init"):
        encoder = autoencoders.encoder(shape, settings.width, settings.code)
        decoder = autoencoders.decoder(shape, settings.width, settings.code)
    net = Normalised(nn.Sequential(encoder, decoder), shape)
    net.fit(public.x)

    def loss(decoded: Tensor, inputs: Tensor) -> Tensor:
        return (decoded - net.standardise(as_float(inputs))).square().flatten(1).mean(dim=1)

    inputs = to_inputs(members.x)
    fit_privately(
        net,
        inputs,
        inputs,
        loss,
        ctx,
        noise=noise,
        clip=settings.clip,
        rate=settings.rate,
        steps=settings.steps,
        lr=settings.lr,
        optimizer="adam",
        schedule="cosine",
    )
    return {name: tensor.detach().cpu().numpy() for name, tensor in encoder.state_dict().items()}
