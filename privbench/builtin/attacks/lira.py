"""LiRA: likelihood ratio of the target's confidence under models trained with and without the example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import Needs, ShadowOptions, component, option, shadow_signals
from privbench.builtin.attacks import lira_official
from privbench.builtin.attacks.gaussians import fit, log_ratio
from privbench.errors import CellFailed
from privbench.stats import signals

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Evidence
    from privbench.builtin.attacks.gaussians import Variance


ENOUGH_FOR_EXAMPLE = 60
"""Number of shadows from which `auto` uses a variance per example: 64 models, minus the target's pair and the pair on
which a threshold may be calibrated, so that both kinds of scores are computed alike. Online, on MLPs for digits,
Location-30 and CIFAR-10, one variance for all gave 1.1 to 19 times the TPR at 1 % FPR of one per example with 6 to
16 models, and 0.91 to 0.99 times with 66; the two crossed between 16 and 48. `global`, the paper's, and `pooled`
were equally good there, so `auto` uses the paper's."""


@component
class LiRA(ShadowOptions):
    """Likelihood ratio of the logit-scaled confidence phi under Gaussians fitted to the shadows of each example.

    online (Algorithm 1):   sum_a log N(phi_a; mu_in,a, v_in,a) - log N(phi_a; mu_out,a, v_out,a)
    offline (eq. 4):        mean_a (phi_a - mu_out,a) / sd_out,a

    over aligned queries a, each with its own mean and variance. Offline, the paper's Phi of the z-score is omitted: it
    has the same ranking, but saturates at 8 sd and makes ties. An example in no shadow, or in every one, scores 0.
    Online, 0 and above means member. For that decision `global` variances, which are of all raw scores, are scaled to
    the variance of one example's scores.

    The authors' code differs: a fixed standard deviation is that of the IN scores for both sides, offline is two-sided,
    and the number of scores per example is limited to that of the example with the fewest. `preset=official` computes
    the same, and `preset=official-fixed` the same with `fix_variance`; `mode` selects online or offline for both.
    """

    name: ClassVar[str] = "lira"
    paper: ClassVar[str] = (
        "Carlini, Chien, Nasr, Song, Terzis, Tramer: Membership Inference Attacks From First Principles, "
        "IEEE S&P 2022 (2112.03570)"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "official": {"formulas": "official", "variance": "example", "center": "median"},
        "official-fixed": {"formulas": "official", "variance": "global", "center": "median"},
    }

    mode: Literal["online", "offline"] = option("online", "compare IN with OUT shadows, or use OUT shadows only")
    variance: Literal["auto", "example", "global", "pooled"] = option(
        "auto", "of each example's scores; one for all examples, of raw scores; or of scores about their example's mean"
    )
    queries: Literal["task", 1, 2, 18, 162] = option(
        "task", "aligned queries per example; task: as in its augmentation"
    )
    center: Literal["mean", "median"] = option("mean", "centre of the Gaussians (the authors' code: median)")
    formulas: Literal["paper", "official"] = option(
        "paper", "official: what the authors' code computes; see its presets"
    )

    def __post_init__(self) -> None:
        """Refuse combinations for which the authors' code has no formula."""
        if self.formulas == "official" and self.variance == "pooled":
            raise ValueError("option 'variance' is 'example' or 'global' with formulas=official, which has no 'pooled'")

    @property
    def needs(self) -> Needs:
        """Logits for aligned queries, of the target and of shadow models."""
        return Needs(queries=self.queries, shadows=self.shadows, inputs=self.inputs)

    @property
    def threshold(self) -> float | None:
        """A log-likelihood ratio of 0 online; none offline or with variances that divide by n."""
        return 0.0 if self.mode == "online" and self.formulas == "paper" else None

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed without shadows, or with shadows of one kind only."""
        target = evidence.signals(signals.phi)
        shadow, member = shadow_signals(evidence, signals.phi)
        known = self._known(member)
        if self.formulas == "official":
            of = lira_official.online if self.mode == "online" else lira_official.offline
            scores = np.zeros(len(target))
            fixed = self._variance(len(shadow)) == "global"
            scores[known] = of(target[known], shadow[:, known], member[:, known], fixed=fixed, center=self.center)
            return scores
        outside = fit(shadow, ~member, self.center)
        if self.mode == "offline":
            scores = (target - outside.center) / np.sqrt(outside.variance(self._variance(len(shadow))))
        else:
            scores = log_ratio(target, fit(shadow, member, self.center), outside, self._variance(len(shadow)))
        total = np.where(known[:, None], scores, 0.0).sum(axis=1)
        return np.asarray(total / target.shape[1] if self.mode == "offline" else total)

    def _variance(self, shadows: int) -> Variance:
        if self.variance == "auto":
            return "example" if shadows >= ENOUGH_FOR_EXAMPLE else "global"
        return self.variance

    def _known(self, member: Array) -> Array:
        """Return which examples have the required shadows, (n,) bool. Raises CellFailed if none has."""
        outside = ~member.all(axis=0)
        known = outside & member.any(axis=0) if self.mode == "online" else outside
        if not known.any():
            kind = "both with and without" if self.mode == "online" else "without"
            offline = "; mode=offline takes those without it alone" if outside.any() else ""
            raise CellFailed(
                f"lira ({self.mode}) needs shadows trained {kind} an example; here no example has them{offline}."
            )
        return np.asarray(known)
