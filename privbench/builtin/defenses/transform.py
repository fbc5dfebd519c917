"""Privacy-domain transform: move high-risk examples towards the low-risk domain with a CycleGAN.

After "Fake data training and transform by CycleGAN", sections 3.2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from privbench.api import Examples, Prepared, Traits, component, option
from privbench.builtin.defenses import valuation
from privbench.builtin.defenses.real_and_fake import TrainsOnBoth, like
from privbench.builtin.defenses.valuation import RISKY, SAFE, ValuationOptions
from privbench.builtin.generative.cycle_gan_options import CURVE, R2S, S2R, CycleGanOptions
from privbench.builtin.generative.tac_gan import TacGanOptions
from privbench.data import concatenate

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Blueprint, Context


GENERATED, VALUED = 0.35, 0.8
"""Progress after each part, as measured on `digits`."""
GENERATORS_COST = 10.0
"""Cost of the TAC-GAN and the CycleGAN, in trainings of the model of `digits`."""


@component
class Transform(TrainsOnBoth, CycleGanOptions, ValuationOptions, TacGanOptions):  # options are listed in reverse order
    """Training on real and generated data, with real examples that are not safe moved to the safe domain by a CycleGAN.

    Generated examples are added to the real ones (as in fake-data), an ensemble votes which of all are safe, vague or
    risky, and a CycleGAN between the safe and the risky domain moves real examples that are not safe to the safe
    domain, and generated ones that are not risky to the risky domain. All keep their labels. The moved generated
    examples are published; moved real ones are not, because the transform can almost be inverted.

    Differences from the paper: the CycleGAN uses LSGAN's loss, because the paper's eq. 2 is a misprint; examples are
    ranked by their signed distance above the threshold, because a member far below it is safe, not risky
    (preset=seed_s0: absolute distance); the valuing models are trained on real and generated examples with half the
    steps of the task on the real ones alone, which on `digits` gives the same ranking; batches of both domains have the
    same classes, otherwise digits turn into those that are more frequent in the other domain; unless cycle_skip=false,
    the generators add to their input, because few steps do not teach them to copy. The paper does not state votes,
    quantile and weights. If no example is safe, or none risky, nothing is moved (fact `cycle_trained` = 0).
    preset=paper has the sizes of the GANs' authors.
    """

    name: ClassVar[str] = "transform"
    paper: ClassVar[str] = "fake data and privacy-domain transform, with TAC-GAN (1907.02690) and CycleGAN (1703.10593)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            **TacGanOptions.presets["paper"],
            "valuation_steps": 1.0,
            "cycle_skip": False,
            "cycle_width": 64,
            "cycle_batch": 16,
            "cycle_steps": 100_000,
            "cycle_lr": 2e-4,
        },
        "seed_s0": {"distance": "abs", "cycle_matched": False},
    }

    domains: Literal["union", "real_only"] = option("union", "safe and risky examples on which the CycleGAN is trained")
    mode: Literal["replace", "append"] = option("replace", "moved examples replace their originals, or are added")

    @property
    def traits(self) -> Traits:
        """The generators learn from members; it takes the ensemble, the generators, and more to train on."""
        cost = self.valuation_models * self.valuation_steps + GENERATORS_COST + self.ratio
        return Traits(relative_cost=cost, from_members=True)

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Prepared:
        """Generate, value and move; return the training examples, and publish the moved generated ones.

        Facts: the shares of levels (`real_safe`, ...), `overlap_top25` and `overlap_top50` of the rankings' risky ends
        with their nulls, the change of moved images (`real_change`, `fake_change`: mean absolute, pixels in [0, 1]),
        the CycleGAN's last losses (those of generators and critics are 1/2 in equilibrium) and those of `quality`.
        Notes: `levels_real`, `levels_fake` int8, `distances` (models, real + fake) float32, `overlap` (bins, 4) from
        `valuation.overlap_table`, grids of moved examples before and after, and the weights of the generator to the
        safe domain under `r2s/`. Raises BadOption, DataError, Diverged.
        """
        from privbench.builtin.generative.quality import quality
        from privbench.builtin.generative.tac_gan import fakes

        self.check_augment(task)
        generated = fakes(task, members, ctx, self, self.name, share=(0.0, GENERATED))
        union = concatenate(members, like(generated, members))
        joined = union[len(members) :]
        u = valuation.distances(task, members, joined, ctx, self, share=(GENERATED, VALUED))
        places = valuation.ranks(u, self.distance)
        levels = valuation.levels(places, self.quantile, self.votes)
        weights = self._cycle_gan(task, union, levels, len(members), ctx)

        real, fake = levels[: len(members)], levels[len(members) :]
        real_moved = self._move(task, weights, members, real != SAFE, which=R2S, device=ctx.device)
        fake_moved = self._move(task, weights, generated, fake != RISKY, which=S2R, device=ctx.device)
        synthetic = _joined(generated, fake_moved, self.mode)
        return Prepared(
            self.together(_joined(members, real_moved, self.mode), synthetic),
            synthetic,
            {
                **_level_facts(real, fake, places),
                **_change_facts(members, real_moved, "real"),
                **_change_facts(generated, fake_moved, "fake"),
                **_curve_facts(weights),
                **quality(members, synthetic),
            },
            {
                "levels_real": real,
                "levels_fake": fake,
                "distances": u.astype(np.float32),
                "overlap": valuation.overlap_table(places),
                **_pictures(members, real_moved, "real", task.classes),
                **_pictures(generated, fake_moved, "generated", task.classes),
                **{name: array for name, array in weights.items() if name.startswith(R2S)},
            },
        )

    def transform_inputs(self, task: Blueprint, notes: Mapping[str, Array], x: Array, device: str) -> Array:
        """Return inputs moved to the safe domain by the release's own generator: the shape and dtype of x.

        notes: of the release; without a generator among them, because nothing was moved, x itself
        """
        from privbench.builtin.generative import cycle_gan, pixels

        weights = {name: array for name, array in notes.items() if name.startswith(R2S)}
        if not weights:
            return x
        net = cycle_gan.generator(task, weights, R2S, self, self.name)
        return pixels.as_dtype(cycle_gan.apply(net, x, task, device, self.name), x.dtype)

    def _cycle_gan(
        self, task: Blueprint, union: Examples, levels: Array, members: int, ctx: Context
    ) -> dict[str, Array]:
        """Return the result of `cycle_gan.between` for the safe and the risky domain; nothing if either is empty."""
        from privbench.builtin.generative import cycle_gan

        among = levels if self.domains == "union" else levels[:members]
        safe, risky = np.flatnonzero(among == SAFE), np.flatnonzero(among == RISKY)
        if not len(safe) or not len(risky):
            return {}
        return cycle_gan.between(union[safe], union[risky], task, ctx, self, name=self.name, share=(VALUED, 1.0))

    def _move(
        self,
        task: Blueprint,
        weights: Mapping[str, Array],
        examples: Examples,
        where: Array,
        *,
        which: str,
        device: str,
    ) -> Moved:
        """Move the examples `where` (n,) bool with the generator whose weights are under `which`."""
        from privbench.builtin.generative import cycle_gan

        if not weights:
            return Moved(np.empty(0, np.int64), np.empty((0, *examples.x.shape[1:]), np.uint8))
        rows = np.flatnonzero(where)
        net = cycle_gan.generator(task, weights, which, self, self.name)
        return Moved(rows, cycle_gan.apply(net, examples.x[rows], task, device, self.name))


class Moved(NamedTuple):
    """The rows of the moved examples, and the moved images."""

    rows: Array
    x: Array
    """uint8 (len(rows), height, width, channels)."""


def _joined(examples: Examples, moved: Moved, mode: str) -> Examples:
    """Return examples with the moved ones instead of their originals, or after all of them."""
    after = like(Examples(moved.x, examples.y[moved.rows]), examples)
    if mode == "append":
        return concatenate(examples, after)
    x = examples.x.copy()
    x[moved.rows] = after.x
    return Examples(x, examples.y)


def _level_facts(real: Array, fake: Array, places: Array) -> dict[str, float]:
    """Return the shares of the levels, and the overlap of the rankings' risky ends with its expectation by chance."""
    facts = {
        f"{source}_{name}": float((levels == level).mean())
        for source, levels in (("real", real), ("fake", fake))
        for level, name in enumerate(valuation.LEVELS)
    }
    for name, start in (("overlap_top25", 0.75), ("overlap_top50", 0.5)):
        facts[name] = valuation.overlap(places, start, 1.0)
        facts[f"{name}_null"] = valuation.overlap_null(len(places), start, 1.0)
    return facts


def _change_facts(examples: Examples, moved: Moved, source: str) -> dict[str, float]:
    """Return the mean absolute change of the moved images' pixels, in [0, 1]; nothing if none was moved."""
    if not len(moved.rows):
        return {}
    before = examples.x[moved.rows]
    before = before / np.float32(255) if before.dtype == np.uint8 else before
    return {f"{source}_change": float(np.abs(before - moved.x / np.float32(255)).mean(dtype=np.float64))}


def _curve_facts(weights: Mapping[str, Array]) -> dict[str, float]:
    """Return the CycleGAN's losses in the last part of its training."""
    if not weights:
        return {"cycle_trained": 0.0}
    adversarial, cycle, critics = map(float, weights[CURVE][-1])
    return {"cycle_trained": 1.0, "cycle_adversarial": adversarial, "cycle_l1": cycle, "cycle_critics": critics}


def _pictures(examples: Examples, moved: Moved, source: str, classes: int) -> dict[str, Array]:
    """Return the first moved examples of each class before and after, as notes for figures."""
    from privbench.api import GRID
    from privbench.builtin.generative.pixels import grid

    y = examples.y[moved.rows]
    before, after = Examples(examples.x[moved.rows], y), Examples(moved.x, y)
    return {f"{GRID}{source} before": grid(before, classes), f"{GRID}{source} after": grid(after, classes)}
