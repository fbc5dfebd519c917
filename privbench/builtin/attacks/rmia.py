"""RMIA: the share of reference examples that an example beats, by likelihood ratios against shadow models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from privbench.api import Needs, ShadowOptions, component, option, shadow_signals
from privbench.builtin.attacks.confidences import log_confidence
from privbench.errors import CellFailed
from privbench.stats import intervals

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Evidence


A = 0.3
"""The paper's a for CIFAR-10, and the fallback of `tune`."""
GRID = np.linspace(0, 1, 11)
POSERS = 8
"""Number of shadows used as pseudo-targets to tune a."""
NEAR = 1e-9
"""Tolerance of log ratios, far below the differences between models, so that rounding does not decide LR = gamma."""


@component
class RMIA(ShadowOptions):
    """The share of reference examples z that an example beats: LR(x, z) = r(x) / r(z) >= gamma, r(x) = p(x) / Pr(x).

    p(x) is the target's confidence, Pr(x) the confidence expected from models in general, trained with x or without:

        online    the mean of the IN shadows' mean confidence and of the OUT shadows'
        offline   ((1 + a) mean_OUT + (1 - a)) / 2

    z are the attacker's reference examples, on which no model was trained and whose Pr(z) is the offline one in both
    modes. Of several queries, more than half must beat z. A share takes |z| + 1 values: low false-positive rates
    require some 2,500 z, and with the 153 of `digits` one step is 0.0065. Equal shares are therefore ordered by the
    mean log LR, which adds less than a step. With one query the order is then that of r(x) alone, whatever z and gamma:
    TPR at a low FPR depends on r, not on the share. The findings have the AUC of the share alone; `ties=keep` scores
    the share alone. z and gamma do matter for one threshold over many targets: if models are certain of most z, the
    paper's gamma of 2 counts the few uncertain ones, and shares of different targets are not comparable. The default is
    therefore 1, as in the tool that the authors maintain.

    Differences from the authors' code: z are disjoint from the pool (theirs are the target's own non-members); z is
    queried once, unmodified, so that the vote of queries is a median and counting a matter of sorting, where theirs
    queries x and z alike; OUT models are those of the membership matrix, not those with the smallest confidences; the
    trimmed mean is of IN and OUT separately; the Taylor softmax has an even order, because an odd one (its order 4 is a
    cubic) has negative values. An example with OUT shadows only gets the offline Pr; one without any has r = 1.
    """

    name: ClassVar[str] = "rmia"
    paper: ClassVar[str] = (
        "Zarifzadeh, Liu, Shokri: Low-Cost High-Power Membership Inference Attacks, ICML 2024 (2312.03262)"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"gamma": 2.0, "confidence": "taylor", "temperature": 2.0, "queries": 18, "trim": 0.2},
        "tool": {"mode": "offline", "a": "tune", "queries": 1},
    }
    """The paper's settings for CIFAR-10 (CIFAR-100: temperature 1, a 0.6), and those of the authors' tool."""

    mode: Literal["online", "offline"] = option(
        "online", "expected confidence from IN and OUT shadows, or from OUT shadows and a"
    )
    gamma: float = option(1.0, "ratio from which x beats z (paper: 2)", gt=0)
    a: Annotated[float, Field(ge=0, le=1)] | Literal["tune"] = option(
        A, "increase of mean_IN with mean_OUT; tune: the best on shadows used as pseudo-targets"
    )
    queries: Literal["task", 1, 2, 18, 162] = option(
        "task", "aligned queries per example; task: as in its augmentation"
    )
    confidence: Literal["softmax", "taylor"] = option("softmax", "p(x); taylor: a Taylor softmax with a soft margin")
    temperature: float = option(1.0, "divisor of the logits", gt=0)
    order: Literal[2, 4, 6, 8] = option(4, "of the Taylor softmax")
    margin: float = option(0.6, "of the Taylor softmax: subtracted from the logit of the true class", ge=0)
    trim: float = option(0.0, "share of shadows trimmed at either end of a mean", ge=0, lt=0.5)
    ties: Literal["ratio", "keep"] = option("ratio", "equal shares: ordered by the mean log LR, or kept equal")

    @property
    def needs(self) -> Needs:
        """Logits for aligned queries, of the target and of shadow models, also on reference examples."""
        return Needs(queries=self.queries, shadows=self.shadows, inputs=self.inputs, reference=True)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64: the share, plus less than a step of it. Raises CellFailed without shadows or z."""
        share, lead, steps = self._compared(evidence)
        if self.ties == "keep":
            return share
        within = 0.5 + 0.5 * lead / (1 + np.abs(lead))  # strictly increasing, between 0 and 1
        return np.asarray(share + within / steps)

    def findings(self, evidence: Evidence, scores: Array) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the share (n,), the number of z, and a if it was tuned."""
        share, _, steps = self._compared(evidence)
        tuned = {"a": intervals.Bounded(self._chosen_a(evidence))} if self.a == "tune" else {}
        return {"share": share, "z": float(steps), **tuned}

    def judged(self, found: Mapping[str, Any], scores: Array, member: Array) -> Mapping[str, float]:  # noqa: ARG002
        """Return the AUC of the share alone, the number of z, and a if it was tuned."""
        fewer = min(int(member.sum()), int((~member).sum()))
        auc = intervals.Bounded(intervals.delong(found["share"], member)[0], of=fewer)
        return {"auc_of_share": auc, **{name: found[name] for name in ("z", "a") if name in found}}

    def _compared(self, evidence: Evidence) -> tuple[Array, Array, int]:
        """Return shares and mean log LRs, (n,) each, and the number of z."""
        own, strangers = self._ratios(evidence, self._chosen_a(evidence))
        lead = own.mean(axis=1) - math.fsum(strangers) / len(strangers)
        return share_beaten(own, strangers, self.gamma), lead, len(strangers)

    def _ratios(self, evidence: Evidence, a: float) -> tuple[Array, Array]:
        """Return log r of the examples, (n, q), and of the unmodified z, (m,)."""
        signal = log_confidence(self.confidence, self.temperature, self.order, self.margin)
        shadow, member = shadow_signals(evidence, signal)
        outside = log_mean(shadow, ~member, self.trim)
        expected = offline(outside, a)
        if self.mode == "online":
            inside = log_mean(shadow, member, self.trim)
            expected = np.where(np.isneginf(inside), expected, np.logaddexp(inside, outside) - math.log(2))
        known = np.any(~member, axis=0, keepdims=True).T
        if not known.any():
            raise CellFailed("rmia needs shadows trained without an example; here no example has one.")
        own = np.where(known, evidence.signals(signal) - expected, 0.0)
        reference = evidence.reference
        if len(reference.labels) == 0:
            raise CellFailed("rmia needs reference examples, but the task keeps none.")
        beyond = reference.shadow_signals(signal)[:, :, :1]
        everyone = np.ones(beyond.shape[:2], dtype=bool)
        strangers = reference.signals(signal)[:, :1] - offline(log_mean(beyond, everyone, self.trim), a)
        return own, strangers[:, 0]

    def _chosen_a(self, evidence: Evidence) -> float:
        """Return a; if tuned, that with the best mean AUC, offline, on shadows used as pseudo-targets.

        The shadows of a pseudo-target are all but itself and its partner, as for the target.
        """
        if self.a != "tune":
            return self.a
        signal = log_confidence(self.confidence, self.temperature, self.order, self.margin)
        shadow, member = shadow_signals(evidence, signal)
        # The choice of pseudo-targets must depend neither on their order nor on that of the examples: fsum is exact.
        order = sorted(range(len(shadow)), key=lambda j: math.fsum(shadow[j].ravel()))
        found = []
        for poser in order[:POSERS]:
            others = [j for j in range(len(shadow)) if j != poser and (member[j] == member[poser]).any()]
            if others and member[poser].any() and not member[poser].all():
                outside = log_mean(shadow[others], ~member[others], self.trim)
                known = np.any(~member[others], axis=0, keepdims=True).T
                ratios = (np.where(known, shadow[poser] - offline(outside, a), 0.0).mean(axis=1) for a in GRID)
                found.append([intervals.delong(ratio, member[poser])[0] for ratio in ratios])
        return float(GRID[np.mean(found, axis=0).round(9).argmax()]) if found else A


def offline(outside: Array, a: float) -> Array:
    """Return log of ((1 + a) mean_OUT + (1 - a)) / 2, given log mean_OUT; in any shape."""
    sure = math.log1p(-a) if a < 1 else -math.inf
    return np.logaddexp(math.log1p(a) + outside, sure) - math.log(2)


def log_mean(values: Array, chosen: Array, trim: float = 0.0) -> Array:
    """Return the log of the mean of exp(values) over the chosen shadows, (n, q): -inf without any.

    values: (s, n, q) log-confidences
    chosen: (s, n) bool
    trim: share trimmed at either end, rounded down
    """
    count = chosen.sum(axis=0)[:, None]
    kept = np.broadcast_to(chosen[:, :, None], values.shape)
    if trim:
        values = np.sort(np.where(kept, values, np.inf), axis=0)
        place, cut = np.arange(len(values))[:, None, None], np.floor(trim * count).astype(int)
        kept = np.broadcast_to((place >= cut) & (place < count - cut), values.shape)
        count = count - 2 * cut
    top = np.max(values, axis=0, where=kept, initial=-np.inf)
    top[np.isneginf(top)] = 0.0
    weights = np.exp(values - top, where=kept, out=np.zeros(values.shape))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights.sum(axis=0) / np.maximum(count, 1)) + top)


def share_beaten(own: Array, strangers: Array, gamma: float) -> Array:
    """Return the share of reference examples with r(x) / r(z) >= gamma for most of x's queries, (n,) in [0, 1].

    own: (n, q) log r(x)
    strangers: (m,) log r(z)

    More than half of the queries beat z if the lower median does, and the number of such z is a position in their
    sorted array: O((n + m) log m), without an n by m array.
    """
    middle = (own.shape[1] - 1) // 2
    median = np.partition(own, middle, axis=1)[:, middle]
    beaten = np.searchsorted(np.sort(strangers), median - math.log(gamma) + NEAR, side="right")
    return np.asarray(beaten / len(strangers))
