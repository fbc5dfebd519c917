"""Privacy-domain transform: move high-risk examples towards the low-risk domain with a CycleGAN.

After "Fake data training and transform by CycleGAN", sections 3.2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import Criterion, Examples, Prepared, Traits, component, option
from privbench.builtin.defenses import transfer, valuation, valuing
from privbench.builtin.defenses.real_and_fake import TrainsOnBoth, like
from privbench.builtin.defenses.transfer import Moved
from privbench.builtin.defenses.valuation import RISKY, SAFE
from privbench.builtin.defenses.valuing import ValuationOptions, Valuer
from privbench.builtin.generative.cycle_gan_options import CURVE, R2S, S2R, CycleGanOptions
from privbench.builtin.generative.tac_gan import TacGanOptions
from privbench.data import concatenate
from privbench.population import relative_cost

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Blueprint, Context


GENERATED, VALUED, MOVED = 0.35, 0.7, 0.9
"""Progress after each part, as measured on `digits`."""
GENERATORS_COST = 10.0
"""Cost of the TAC-GAN and the CycleGAN, in trainings of the model of `digits`."""

FOOLED = 0.2
"""Least loss of a critic for the two domains to count as alike; it is 1/4 if they are, and 0 if they are apart."""


@component
class Transform(TrainsOnBoth, CycleGanOptions, ValuationOptions, TacGanOptions):  # options are listed in reverse order
    """Training on real and generated data, with real examples that are not safe moved to the safe domain by a CycleGAN.

    Generated examples are added to the real ones (as in fake-data), an ensemble votes which of all are safe, vague or
    risky, and a CycleGAN between the safe and the risky domain moves real examples that are not safe to the safe
    domain, and generated ones that are not risky to the risky domain. All keep their labels. The moved generated
    examples are published; moved real ones are not, because the transform can almost be inverted.

    preset=seed is the paper's pipeline in all that it states, with LSGAN's loss for its eq. 2, which is a misprint, and
    the sizes of the GANs' authors for those that it does not state. The defaults are for `digits`, and differ from it
    where it was measured to be worse there: docs/defenses.md has the numbers. If no example is safe, or none risky,
    nothing is moved (fact `cycle_trained` = 0). A leaderboard marks this defense where the transfer did not work, by
    models that did not value the examples.
    """

    name: ClassVar[str] = "transform"
    paper: ClassVar[str] = "fake data and privacy-domain transform, with TAC-GAN (1907.02690) and CycleGAN (1703.10593)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "seed": {
            **TacGanOptions.presets["paper"],
            "valuation": "relaxloss:preset=seed_s0",
            "valuation_steps": 1.0,
            "distance": "abs",
            "lambda_cycle": 10.0,
            "identity": 0.0,
            "cycle_matched": False,
            "cycle_classes": False,
            "cycle_skip": False,
            "cycle_conv": True,
            "cycle_width": 64,
            "cycle_batch": 16,
            "cycle_epochs": 200.0,
            "cycle_lr": 2e-4,
        },
    }
    criteria: ClassVar[tuple[Criterion, ...]] = (
        Criterion("cycle_trained", "some examples are safe, and some risky", least=1),
        Criterion("critic_safe", "its critic hardly tells moved images from safe ones", least=FOOLED),
        Criterion("critic_risky", "its critic hardly tells moved images from risky ones", least=FOOLED),
        Criterion("real_rank_after", "moved real examples rank in the safer half", most=0.5),
        Criterion("fake_rank_after", "moved generated examples rank in the riskier half", least=0.5),
        Criterion("real_kept", "moved real examples keep their class", least=0.9),
        Criterion("fake_kept", "moved generated examples keep their class", least=0.9),
    )

    domains: Literal["union", "real_only"] = option("union", "safe and risky examples on which the CycleGAN is trained")
    mode: Literal["replace", "append"] = option("replace", "moved examples replace their originals, or are added")

    @property
    def traits(self) -> Traits:
        """The generators learn from members; it takes the ensemble, the generators, and more to train on."""
        models = self.valuation_models + 2 * self.measuring
        cost = models * self.valuation_steps * relative_cost(self.valuation) + GENERATORS_COST + self.ratio
        return Traits(relative_cost=cost, from_members=True)

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Prepared:
        """Generate, value and move; return the training examples, and publish the moved generated ones.

        Facts: the shares of levels (`real_safe`, ...), `overlap_top25` and `overlap_top50` of the rankings' risky ends
        with their nulls, the change of moved images (`real_change`, `fake_change`: mean absolute, pixels in [0, 1]),
        the CycleGAN's last losses, and those of `transfer.measure` and `quality`; docs/defenses.md explains them.
        Notes: `levels_real`, `levels_fake` int8, `distances` (models, real + fake) float32, `overlap` (bins, 4) from
        `valuation.overlap_table`, grids of moved examples before and after, and the weights of the generator to the
        safe domain under `r2s/`. Raises BadOption, CellFailed, DataError, Diverged.
        """
        from privbench.builtin.generative.quality import quality
        from privbench.builtin.generative.tac_gan import fakes

        self.check_augment(task)
        valuing.check(ctx, self)
        generated = fakes(task, members, ctx, self, self.name, share=(0.0, GENERATED))
        union = concatenate(members, like(generated, members))
        u = valuing.distances(task, members, union[len(members) :], ctx, self, share=(GENERATED, VALUED))
        places = valuation.ranks(u, self.distance)
        levels = valuation.levels(places, self.quantile, self.votes)
        weights = self._cycle_gan(task, union, levels, len(members), ctx)

        real, fake = levels[: len(members)], levels[len(members) :]
        real_moved = self._move(task, weights, members, real != SAFE, which=R2S, device=ctx.device)
        fake_moved = self._move(task, weights, generated, fake != RISKY, which=S2R, device=ctx.device)
        synthetic = _joined(generated, fake_moved, self.mode)
        moved = {"real": real_moved, "fake": fake_moved._replace(rows=len(members) + fake_moved.rows)}
        return Prepared(
            self.together(_joined(members, real_moved, self.mode), synthetic),
            synthetic,
            {
                **_level_facts(real, fake, places),
                **_change_facts(members, real_moved, "real"),
                **_change_facts(generated, fake_moved, "fake"),
                **_curve_facts(weights),
                **transfer.measure(
                    Valuer(task, len(members), self), union, levels, moved, ctx.stage("transfer", share=(MOVED, 1.0))
                ),
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
        return cycle_gan.between(union[safe], union[risky], task, ctx, self, name=self.name, share=(VALUED, MOVED))

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
    names = ("cycle_adversarial", "cycle_l1", "critic_risky", "critic_safe")
    return {"cycle_trained": 1.0, **dict(zip(names, map(float, weights[CURVE][-1]), strict=True))}


def _pictures(examples: Examples, moved: Moved, source: str, classes: int) -> dict[str, Array]:
    """Return the first moved examples of each class before and after, as notes for figures."""
    from privbench.api import GRID
    from privbench.builtin.generative.pixels import grid

    y = examples.y[moved.rows]
    before, after = Examples(examples.x[moved.rows], y), Examples(moved.x, y)
    return {f"{GRID}{source} before": grid(before, classes), f"{GRID}{source} after": grid(after, classes)}
