"""DP-VaeGM: publish what a private variational autoencoder per class generates (Chen et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import Examples, Prepared, Traits, component, option
from privbench.errors import BadOption, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from torch import nn

    from privbench.api import Blueprint, Context

    Array = npt.NDArray[Any]


@component
class DPVaeGM:
    """DP-VaeGM: training on what variational autoencoders generate, one for each class, each trained by DP-SGD.

    A class's decoder turns z ~ N(0, I) into inputs, to which the class is attached; their union is published, and is
    all that models see. What is clipped is the gradient of an example's whole loss, reconstruction and KL together:
    clipped apart, they would have twice the sensitivity. An example is of one class and touches one autoencoder, so
    that the classes compose in parallel, and epsilon (one example more or less) is the largest of the classes'. The
    classes' sizes are taken to be public: they say how many inputs of each are generated.

    The paper's nets and settings were not available to us: one hidden layer each way; pixels are Bernoulli, and the
    features of tables normal, standardised by the validation examples, which are public. What is published is the
    decoder's mean, so there is less variety in a class than among its members. Classes of a few dozen examples are
    little to be private with: on `digits`, generated images are noisy means of their class.
    """

    name: ClassVar[str] = "dp-vaegm"
    paper: ClassVar[str] = "Chen et al., Differentially Private Data Generative Models, arXiv 1812.02274"
    traits: ClassVar[Traits] = Traits(relative_cost=7.0, from_members=True, trains_on_members=False)

    epsilon: float = option(8.0, "epsilon of each class, and of all; inf adds no noise", gt=0)
    delta: float = option(1e-5, "delta at which epsilon holds", gt=0, lt=1)
    clip: float = option(1.0, "largest norm of one example's gradient, of its whole loss", gt=0, allow_inf_nan=False)
    rate: float = option(0.5, "probability that an example of the class is in a step", gt=0, le=1)
    steps: int = option(50, "steps of each autoencoder", ge=1)
    lr: float = option(0.05, "learning rate (Adam, cosine)", gt=0, allow_inf_nan=False)
    width: int = option(16, "hidden units of encoder and decoder", ge=1)
    latent: int = option(4, "normals that an input is generated from", ge=1)
    ratio: float = option(1.0, "generated examples per member, for each class", gt=0, allow_inf_nan=False)

    # No `reuse`, as for `dp-critic`: models see their half through the autoencoders alone, so that those of an attacker
    # who reuses the published examples would depend on no half at all.

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Prepared:
        """Generate, and return the generated examples alone, which are published too.

        Facts: `epsilon` at `delta`, `noise` (in units of clip). Nothing is said of how close generated examples are to
        members, which epsilon would not cover; `privbench audit generation-quality` measures it. Raises BadOption for a
        ratio that asks for nothing, DataError for tables without public examples, Diverged.
        """
        from privbench_dp import accounting

        sizes = np.bincount(members.y, minlength=task.classes)
        quantities = np.rint(self.ratio * sizes).astype(int)
        present = [int(label) for label in np.flatnonzero(quantities)]
        if not present:
            raise BadOption(f"dp-vaegm: ratio={self.ratio:g} of {len(members)} members generates no example.")
        scale = Scale.of(members, task.shape, ctx)
        noise = accounting.noise_for(self.epsilon, self.rate, self.steps, self.delta)
        parts = []
        for done, label in enumerate(present):
            share = (done / len(present), (done + 1) / len(present))
            decoder = self._decoder(members[members.y == label], label, scale, ctx, noise=noise, share=share)
            x = generate(decoder, self, scale, ctx, label=label, quantity=int(quantities[label]))
            parts.append(Examples(x, np.full(len(x), label, dtype=np.int64)))
        synthetic = Examples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))
        facts = {
            "epsilon": accounting.epsilon(noise, self.rate, self.steps, self.delta),
            "delta": self.delta,
            "noise": noise,
        }
        return Prepared(Examples(scale.like(synthetic.x, members.x), synthetic.y), synthetic, facts)

    def _decoder(
        self, own: Examples, label: int, scale: Scale, ctx: Context, *, noise: float, share: tuple[float, float]
    ) -> Mapping[str, Array]:
        """Return the weights of one class's decoder, which depend on its own members and its number alone."""

        def make(inner: Context) -> dict[str, Array]:
            return train_decoder(self, own, scale, inner, noise)

        options: dict[str, Any] = {
            "noise": noise,
            **{name: getattr(self, name) for name in ("clip", "rate", "steps", "lr", "width", "latent")},
            "scale": scale.fingerprint,
        }
        return ctx.kept(f"private autoencoder of class {label}", own, options, make, model_free=True, share=share)


class Scale:
    """Between examples and what autoencoders see: pixels in [0, 1], or features standardised by public examples."""

    def __init__(self, shape: tuple[int, ...], public: Examples | None) -> None:
        self.shape, self.public = shape, public

    @classmethod
    def of(cls, members: Examples, shape: tuple[int, ...], ctx: Context) -> Scale:
        """Return the scale of examples; no statistic of the members is taken. Raises DataError."""
        if members.is_image or members.x.dtype == np.uint8:
            return cls(shape, None)
        if ctx.validation is None or not len(ctx.validation):
            raise DataError(
                "dp-vaegm: tables are standardised by public examples, but there are no validation examples."
            )
        return cls(shape, ctx.validation)

    @property
    def bounded(self) -> bool:
        """Whether values lie in [0, 1]."""
        return self.public is None

    @property
    def fingerprint(self) -> str:
        """What names this scale in a key."""
        return f"{self.shape} {'bounded' if self.public is None else self.public.fingerprint}"

    def standardise(self, inputs: Any) -> Any:
        """Return inputs, as models take them, as autoencoders do: a float32 tensor."""
        from privbench.learn import as_float

        if self.public is None:
            return as_float(inputs)
        return self._statistics().standardise(as_float(inputs))

    def restore(self, decoded: Any) -> Array:
        """Return what is decoded as examples: images (n, height, width, channels) uint8, rows of tables float32."""
        import torch

        if self.public is not None:
            statistics = self._statistics()
            rows: Array = (decoded.cpu() * statistics.std + statistics.mean).numpy()
            return rows
        levels = decoded.sigmoid().mul(255).round().to(torch.uint8).cpu()
        layout = (0, 2, 3, 1) if len(self.shape) > 1 else (0, 1)
        pixels: Array = levels.permute(layout).contiguous().numpy()
        return pixels

    def like(self, x: Array, members: Array) -> Array:
        """Return generated examples in the dtype of the members that they stand for."""
        if x.dtype == np.uint8 and members.dtype != np.uint8:
            x = x.astype(np.float32) / np.float32(255)
        return x

    def _statistics(self) -> Any:
        from torch import nn

        from privbench.learn import Normalised

        statistics = Normalised(nn.Identity(), self.shape)
        if self.public is not None:
            statistics.fit(self.public.x)
        return statistics


def train_decoder(settings: DPVaeGM, own: Examples, scale: Scale, ctx: Context, noise: float) -> dict[str, Array]:
    """Train the autoencoder of one class privately, and return the weights of its decoder by name."""
    from privbench.learn import to_inputs
    from privbench_dp.autoencoders import Vae, bernoulli_loss, gaussian_loss
    from privbench_dp.sgd import fit_privately

    with ctx.seeded("init"):
        vae = Vae(scale.shape, settings.width, settings.latent)
    inputs = scale.standardise(to_inputs(own.x))
    fit_privately(
        vae,
        inputs,
        inputs,
        bernoulli_loss if scale.bounded else gaussian_loss,
        ctx,
        noise=noise,
        clip=settings.clip,
        rate=settings.rate,
        steps=settings.steps,
        lr=settings.lr,
        optimizer="adam",
        schedule="cosine",
    )
    return {name: tensor.detach().cpu().numpy() for name, tensor in vae.decoder.state_dict().items()}


def generate(
    weights: Mapping[str, Array], settings: DPVaeGM, scale: Scale, ctx: Context, *, label: int, quantity: int
) -> Array:
    """Return so many generated examples of a class: z ~ N(0, I), drawn for this class alone, decoded."""
    import torch

    from privbench_dp.autoencoders import Vae

    with ctx.seeded("empty"):
        decoder: nn.Module = Vae(scale.shape, settings.width, settings.latent).decoder
    decoder.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    z = torch.randn(quantity, settings.latent, generator=ctx.generator(f"z of class {label}"))
    with torch.no_grad():
        return scale.restore(decoder.eval()(z))
