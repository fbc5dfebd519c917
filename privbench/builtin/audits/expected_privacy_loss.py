"""Expected privacy loss of published synthetic data, with held-out records as the control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import Measurement, component, option
from privbench.builtin.audits.divergence import SWEEP, PrivacyLoss, expected_privacy_loss, thin
from privbench.builtin.audits.loss_bounds import bound, sample_bound
from privbench.errors import CellFailed, DataError
from privbench.features import fit_encoder
from privbench.population import publishes
from privbench.stats import intervals
from privbench.stats.intervals import Estimate, rounded, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.api import Context
    from privbench.population import Population

GAMMAS = (0.05, 0.01)
"""Further probabilities in the table of bounds; samples of hundreds support them."""
DIGITS = 6
NOT_EPSILON = (
    "mu is no (epsilon, delta) of differential privacy, and not calibrated to leakage: data that have nothing to do "
    "with the records give a mu of the same size. What counts is mu_members beside mu_heldout."
)
BLIND = (
    "The loss sees which synthetic points lie near a record, not whether they are copies: where all members are "
    "copied alike, held-out records lose as much as members. closer_auc, which compares distances, sees that."
)


@component
class ExpectedPrivacyLoss:
    """KL divergence between a published synthetic set and the same set without the K nearest neighbours of a record.

    For each release it is computed for members and for as many pool examples that its generator never saw. mu bounds
    the loss except with probability gamma; the difference of mu between the two is the effect of training. The paper
    uses Inception features; here distances are in the first 64 principal components of an untrained encoder, fitted on
    reference examples.
    """

    name: ClassVar[str] = "expected-privacy-loss"
    paper: ClassVar[str] = (
        "Triastcyn, Faltings: Generating Artificial Data for Private Deep Learning, PAL 2019 (1803.03148), section 4.2"
    )

    features: Literal["encoder", "pca", "pixels"] = option("encoder", "feature space of the distances")
    gamma: float = option(1e-5, "probability with which a loss may exceed mu", gt=0, lt=1)
    k: Literal["auto"] | int = option("auto", "number of synthetic points removed for a record; auto: see choice")
    choice: Literal["kappa", "closed-form"] = option(
        "kappa",
        "auto K: the smallest with mean loss KL(members || synthetic), or a closed form for uniform densities",
    )
    points: int = option(1000, "number of members, and of held-out examples, evenly spaced", ge=10)
    synthetic: int = option(5000, "number of synthetic examples, evenly spaced", ge=10)

    def compared(self, population: Population) -> Sequence[Population]:
        """Return no further populations. Raises CellFailed for a defense that publishes no synthetic examples."""
        if not publishes(population.defense):
            raise CellFailed(f"{population.defense.name} publishes no synthetic examples to look at.")
        return ()

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Return mu of members and held-out examples, averaged over releases. Raises CellFailed without synthetic data.

        arrays: losses_members and losses_heldout, (releases, N) float64, at each release's own K
        """
        found = []
        assert ctx.reference is not None, "audits are lent reference examples"
        first = population.synthetic(0)
        if first is None:
            raise CellFailed(f"{population.defense.name} publishes no synthetic examples to look at.")
        encode = fit_encoder(self.features, ctx.reference, device=ctx.device, published=first.x)
        pool = encode(population.dataset.role("pool").x)
        for index in range(population.models):
            synthetic = population.synthetic(index)
            if synthetic is None:
                raise CellFailed(f"{population.defense.name} model {index} publishes no synthetic examples.")
            artificial = encode(thin(synthetic.x, self.synthetic))
            found.append(self._of_release(pool, population.members(index), artificial, index))
            ctx.progress((index + 1) / population.models, f"release {index}")
        return self._measurement(found)

    def _of_release(self, pool: Array, member: Array, artificial: Array, index: int) -> PrivacyLoss:
        count = min(self.points, int(member.sum()), int((~member).sum()))
        varying = int((np.ptp(np.concatenate([pool, artificial]), axis=0) > 0).sum())
        try:
            return expected_privacy_loss(
                thin(pool[member], count),
                artificial,
                thin(pool[~member], count),
                k=self.k,
                choice=self.choice,
                gamma=self.gamma,
                dimension=varying,
                seed=index,
            )
        except DataError as error:
            raise CellFailed(f"release {index}: {error}") from error

    def _measurement(self, found: list[PrivacyLoss]) -> Measurement:
        def averaged(numbers: list[float]) -> Estimate:
            return intervals.mean(np.array(numbers))

        controls = [each.heldout for each in found if each.heldout is not None]
        members = [each.members for each in found]
        pairs = list(zip(members, controls, strict=True))
        kappas = [each.kappa for each in found if each.kappa is not None]
        closer = [each.closer.value for each in found if each.closer and each.closer.value is not None]
        samples = [each.mu_sample for each in members]
        notes = list(dict.fromkeys([NOT_EPSILON, BLIND, *(note for each in found for note in each.notes)]))
        values: dict[str, Estimate | float | int | str | None] = {
            "mu_members": averaged([each.mu for each in members]),
            "mu_heldout": averaged([each.mu for each in controls]),
            "mu_difference": averaged([inside.mu - outside.mu for inside, outside in pairs]),
            "mu_sample_members": averaged([each for each in samples if each is not None])
            if None not in samples
            else unavailable(f"gamma = {self.gamma:g} takes more examples than {len(members[0].losses)}"),
            "expected_loss_members": averaged([each.mean for each in members]),
            "expected_loss_heldout": averaged([each.mean for each in controls]),
            "closer_auc": intervals.share(np.array(closer), of=len(members[0].losses)),
            "k": intervals.mean(np.array([each.k for each in found]), least=1.0),
            "kappa": averaged(kappas) if kappas else None,
            "synthetic_points": min(each.points for each in found),
            "dimension": found[0].dimension,
        }
        return Measurement(
            values,
            {"Sweep of K": _sweep(found), "Bounds": self._bounds(found), "By release": _releases(found)},
            {
                "losses_members": np.stack([each.losses for each in members]),
                "losses_heldout": np.stack([each.losses for each in controls]),
            },
            notes,
        )

    def _bounds(self, found: list[PrivacyLoss]) -> list[dict[str, Any]]:
        """Return mu, and the bound for one more record, at several gammas; null if there are too few records."""
        rows = []
        for gamma in dict.fromkeys((*GAMMAS, self.gamma)):
            row: dict[str, Any] = {"gamma": gamma}
            for name, limit in (("mu", bound), ("one more", sample_bound)):
                for side in ("members", "heldout"):
                    values = [limit(getattr(each, side).losses, gamma) for each in found]
                    row[f"{name}, {side}"] = _number(values)
            rows.append(row)
        return rows


def _sweep(found: list[PrivacyLoss]) -> list[dict[str, Any]]:
    """Return mu at each K of the sweep that is possible for every release, averaged over releases."""
    rows = []
    for k in SWEEP:
        sides = [row for each in found for row in each.sweep if row[0] == k]
        if len(sides) == len(found):
            members = [inside.mu for _, inside, _ in sides]
            heldout = [outside.mu for _, _, outside in sides if outside is not None]
            difference = intervals.mean(np.array(members) - np.array(heldout))
            rows.append(
                {
                    "K": k,
                    "mu, members": _number(members),
                    "mu, heldout": _number(heldout),
                    "difference": _number([difference.value or 0.0]),
                    "low": None if difference.low is None else _number([difference.low]),
                    "high": None if difference.high is None else _number([difference.high]),
                }
            )
    return rows


def _releases(found: list[PrivacyLoss]) -> list[dict[str, Any]]:
    rows = []
    for index, each in enumerate(found):
        assert each.heldout is not None, "an audit always has held-out records"
        assert each.difference is not None
        rows.append(
            {
                "release": index,
                "K": each.k,
                "kappa": None if each.kappa is None else _number([each.kappa]),
                "mu, members": _number([each.members.mu]),
                "mu, heldout": _number([each.heldout.mu]),
                "low": each.difference.low,
                "high": each.difference.high,
            }
        )
    return rows


def _number(values: list[float]) -> float | None:
    mean = float(np.mean(values))
    return rounded(mean, DIGITS) if np.isfinite(mean) else None
