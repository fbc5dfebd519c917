"""Real-versus-fake classifier: generated against other examples, and the real examples it classifies as generated."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import component, option
from privbench.features import FeatureOptions, distance_to, published
from privbench.stats import metrics
from privbench.stats.intervals import Bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from privbench.aliases import Array
    from privbench.api import Evidence, Needs


SURE = 1e-9
"""Probabilities are kept this far from 0 and 1, so that their log-odds are finite."""
TREES = 200
HIDDEN = 64


@component
class RealVsFake(FeatureOptions):
    """Score the log-odds that a candidate is generated, from a classifier that was trained without the pool.

    If a model was trained on members, its generated examples may resemble them more than other real examples. The
    number of the slides is privacy_loss = 2 P - 1 = (P - 1/2) / (1/2), where P is the rate at which real data are
    verified; it may be negative, and is never clipped at 0. There are two readings of it:

    reference       the classifier distinguishes generated examples from the attacker's reference examples, with equal
                    weight of both. P is the balanced accuracy on members and non-members, so that privacy_loss is the
                    membership advantage TPR - FPR. 0 means that nothing was found.
    slide-literal   the classifier distinguishes generated examples from uniform and Gaussian noise, and P is the share
                    of members that it classifies as generated. THIS MEASURES REALISM, NOT PRIVACY: P is nearly 1 for
                    any generator that makes better images than noise, and just as high for non-members, as
                    `nonmembers_verified` shows. Its AUC and balanced accuracy still are those of an attack.

    Log-odds 0, the decision boundary of the classifier, does not separate members from non-members: with a perfect
    generator, half of all real examples lie above it. In mode `reference` the balanced accuracy and advantage in the
    record are therefore those at a threshold calibrated on the releases of shadow models, and privacy_loss uses a
    threshold fitted with the true membership on one half of the pool and evaluated on the other half, both ways: it
    needs no shadows, and is 0 on average without a leak. In mode `slide-literal` the threshold is log-odds 0.

    classifier: `neighbours` compares distances, log-odds = D log(r / g) + log(n_r / n_g), with r and g the distances
    to the nearest of n_r reference and n_g generated examples in D dimensions (nearest-neighbour estimates of both
    densities); it is the default because it detects single copies, which a classifier that generalises smooths out.
    """

    name: ClassVar[str] = "real-vs-fake"
    paper: ClassVar[str] = "none: a talk's slides on the privacy loss of generated data"

    mode: Literal["reference", "slide-literal"] = option(
        "reference", "the other class of the classifier: the attacker's reference examples; noise (see above)"
    )
    classifier: Literal["neighbours", "forest", "logistic", "mlp"] = option(
        "neighbours", "ratio of nearest distances; random forest; logistic regression; multi-layer perceptron"
    )

    @property
    def needs(self) -> Needs:
        """Candidates and synthetic examples; reference examples, except for noise and raw pixels; no predictions."""
        return replace(super().needs, reference=self.mode == "reference" or super().needs.reference)

    @property
    def threshold(self) -> float | None:
        """Log-odds 0 against noise; otherwise none, because the threshold must be calibrated."""
        return 0.0 if self.mode == "slide-literal" else None

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64 log-odds. Raises CellFailed where there are no synthetic examples."""
        encode, generated = self.encoder(evidence), published(evidence.synthetic).x
        others = evidence.reference.x if self.mode == "reference" else noise(generated, evidence.rng("noise"))
        seed = int(evidence.rng("classifier").integers(2**31))
        return log_odds(self.classifier, encode(generated), encode(others), encode(evidence.x), seed)

    def findings(self, evidence: Evidence, scores: Array) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the random numbers for mode=reference, whose threshold is fitted on half of the examples."""
        return {"halves": evidence.rng("halves")}

    def judged(self, found: Mapping[str, Any], scores: Array, member: Array) -> Mapping[str, float]:
        """Return privacy_loss, and the shares of members and of non-members classified as generated."""
        if member.all() or not member.any():
            return {}
        verified, control = (float((scores[rows] >= 0).mean()) for rows in (member, ~member))
        rate = verified
        if self.mode == "reference":
            rate = held_out_accuracy(scores, member, found["halves"])
        n_in, n_out = int(member.sum()), int((~member).sum())
        return {
            "privacy_loss": Bounded(privacy_loss(rate), least=-1.0, of=n_in),
            "members_verified": Bounded(verified, of=n_in),
            "nonmembers_verified": Bounded(control, of=n_out),
        }


def privacy_loss(rate: float) -> float:
    """Return (P - 1/2) / (1/2): 1 for P = 1, 0 for chance, negative below it."""
    return 2 * rate - 1


def held_out_accuracy(scores: Array, member: Array, rng: np.random.Generator) -> float:
    """Return the balanced accuracy of a threshold that is fitted on one half of the examples and used on the other.

    It is the mean of both ways; the halves are drawn with equal shares of members. With fewer than two members or
    non-members there is no other half: 0.5.
    """
    half = np.zeros(len(member), dtype=bool)
    for side in (np.flatnonzero(member), np.flatnonzero(~member)):
        if len(side) < 2:  # noqa: PLR2004 - two halves
            return 0.5
        half[rng.permutation(side)[: len(side) // 2]] = True
    found = []
    for fitted in (half, ~half):
        says = scores[~fitted] >= metrics.best_threshold(scores[fitted], member[fitted])
        truth = member[~fitted]
        found.append((says[truth].mean() + 1 - says[~truth].mean()) / 2)
    return float(np.mean(found))


def noise(like: Array, rng: np.random.Generator) -> Array:
    """Return as many inputs of noise as there are generated ones, in their type: half uniform, half Gaussian.

    Images: uniform over all levels, and with the mean and standard deviation of all generated pixels, clipped. Tables:
    the same for each column separately, over its range.
    """
    count = len(like)
    if like.ndim == 2:  # noqa: PLR2004 - a table
        low, high, mean, sd = like.min(axis=0), like.max(axis=0), like.mean(axis=0), like.std(axis=0)
    else:
        low, high, mean, sd = 0.0, 255.0 if like.dtype == np.uint8 else 1.0, like.mean(), like.std()
    shape = like.shape[1:]
    uniform = rng.uniform(low, high, (count - count // 2, *shape))
    drawn = np.concatenate([uniform, np.clip(rng.normal(mean, sd, (count // 2, *shape)), low, high)])
    return np.rint(drawn).astype(np.uint8) if like.dtype == np.uint8 else drawn.astype(np.float32)


def log_odds(classifier: str, generated: Array, others: Array, asked: Array, seed: int) -> Array:
    """Return (n,) float64 log-odds that inputs are generated, with equal weight of both classes.

    All arguments are rows of features.
    seed: of the random numbers of a classifier
    """
    if classifier == "neighbours":
        return _distance_log_odds(generated, others, asked)
    rows = np.concatenate([generated, others]).astype(np.float64)
    truth = np.arange(len(rows)) < len(generated)
    return _FITTED[classifier](rows, truth, asked.astype(np.float64), seed)


def _distance_log_odds(generated: Array, others: Array, asked: Array) -> Array:
    to_generated, to_others = distance_to(asked, generated), distance_to(asked, others)
    usual = float(np.median(to_others)) or 1.0
    floor = SURE * usual  # a copy is at distance 0, which has no logarithm
    ratio = np.log(np.maximum(to_others, floor)) - np.log(np.maximum(to_generated, floor))
    odds: Array = asked.shape[1] * ratio + np.log(len(others) / len(generated))
    return odds


def _forest(rows: Array, truth: Array, asked: Array, seed: int) -> Array:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(TREES, class_weight="balanced", random_state=seed, n_jobs=1)
    return _logit(forest.fit(rows, truth).predict_proba(asked)[:, 1])


def _logistic(rows: Array, truth: Array, asked: Array, seed: int) -> Array:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(class_weight="balanced", max_iter=1000, random_state=seed)
    odds: Array = _fit(make_pipeline(StandardScaler(), model), rows, truth).decision_function(asked)
    return odds


def _mlp(rows: Array, truth: Array, asked: Array, seed: int) -> Array:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # It has no sample weights: the smaller class is repeated to the size of the larger.
    sides = [np.flatnonzero(truth), np.flatnonzero(~truth)]
    rows_of_both = np.concatenate([np.resize(side, max(map(len, sides))) for side in sides])
    model = make_pipeline(StandardScaler(), MLPClassifier((HIDDEN,), max_iter=100, random_state=seed))
    return _logit(_fit(model, rows[rows_of_both], truth[rows_of_both]).predict_proba(asked)[:, 1])


_FITTED: dict[str, Callable[[Array, Array, Array, int], Array]] = {
    "forest": _forest,
    "logistic": _logistic,
    "mlp": _mlp,
}


def _fit(model: Any, rows: Array, truth: Array) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():  # a fit that stops at its last iteration is a good enough attacker
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows, truth)


def _logit(probability: Array) -> Array:
    kept = np.clip(probability.astype(np.float64), SURE, 1 - SURE)
    odds: Array = np.log(kept) - np.log1p(-kept)
    return odds
