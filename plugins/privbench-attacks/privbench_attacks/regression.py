"""Linear quantile regression: a Gaussian's mean and deviation, or separate quantiles, recalibrated on folds."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

Array: TypeAlias = npt.NDArray[Any]

LEVELS = np.logspace(-4, 0, 41)[:-1]
"""Rates at which non-members exceed the quantiles; the last of the paper's 41, 1, is exceeded by everything."""
Z = np.array([NormalDist().inv_cdf(1 - level) for level in LEVELS])
FOLDS = 5
SMALLEST = 1e-3
"""Least deviation of a Gaussian, of that of all values."""
SMOOTH = 0.05
"""Half-width over which the pinball loss is rounded off, of the deviation of all values."""
STEPS = 60
ENOUGH = 1e-7
"""Relative fall of the objective from which a fit is done."""


class Gaussian:
    """h ~ N(mu(x), sd(x)), with mu and log sd linear in the features: penalised maximum likelihood.

    features: (m, f), of mean 0; values: (m,), of variance about 1; penalty: on squared slopes, half of it.
    """

    penalties = (1.0, 10.0, 100.0, 1000.0)

    def __init__(self, features: Array, values: Array, penalty: float) -> None:
        rows, width = _with_one(features), features.shape[1]
        slopes = np.tile(np.r_[0.0, np.ones(width)], 2)

        def objective(theta: Array) -> tuple[float, Array]:
            off, own = values - rows @ theta[: width + 1], np.exp(2 * np.clip(rows @ theta[width + 1 :], -20, 20))
            variance = own + SMALLEST**2
            loss = 0.5 * (np.log(variance) + off**2 / variance).sum() + 0.5 * penalty * (slopes * theta**2).sum()
            by_log_sd = (1 - off**2 / variance) * own / variance
            return float(loss), np.r_[-rows.T @ (off / variance), rows.T @ by_log_sd] + penalty * slopes * theta

        start = np.zeros(2 * (width + 1))
        start[0] = values.mean()
        found = _minimum(objective, start)
        self._mu, self._log_sd = found[: width + 1], found[width + 1 :]
        seen = rows @ self._log_sd
        self._range = (seen.min(), seen.max())  # a deviation that was never seen is not extrapolated
        self.settle(self.raw(features, values))

    def loss(self, features: Array, values: Array) -> float:
        """Return the negative log-likelihood, without its constant."""
        sd = self._sd(features)
        return float((np.log(sd) + 0.5 * ((values - _with_one(features) @ self._mu) / sd) ** 2).sum())

    def raw(self, features: Array, values: Array) -> Array:
        """Return (h - mu) / sd as fitted, which `settle` then takes from examples that had no part in the fit."""
        return np.asarray((values - _with_one(features) @ self._mu) / self._sd(features))

    def settle(self, raw: Array) -> None:
        """Take what is raw on held-out examples for a standard normal sample, whatever its shape."""
        from scipy.special import ndtri

        self._knots, count = np.unique(raw, return_counts=True)
        self._normal = ndtri((np.cumsum(count) - (count - 1) / 2) / (len(raw) + 1))
        self._spread = float(raw.std()) or 1.0

    def score(self, features: Array, values: Array) -> Array:
        """Return (h - mu) / sd, warped where the held-out sample was not normal; straight beyond it."""
        raw = self.raw(features, values)
        beyond = np.minimum(raw - self._knots[0], 0) + np.maximum(raw - self._knots[-1], 0)
        return np.asarray(np.interp(raw, self._knots, self._normal) + beyond / self._spread)

    def _sd(self, features: Array) -> Array:
        log_sd = np.clip(_with_one(features) @ self._log_sd, *self._range)
        return np.asarray(np.sqrt(np.exp(2 * log_sd) + SMALLEST**2))


class Pinball:
    """q_a(x) for the levels a, each linear in the features: penalised pinball loss, a little rounded off.

    features: (m, f), of mean 0; values: (m,), of variance about 1; penalty: on squared slopes, half of it.
    """

    penalties = (10.0, 100.0)

    def __init__(self, features: Array, values: Array, penalty: float) -> None:
        rows, shape = _with_one(features), (features.shape[1] + 1, len(LEVELS))
        slopes = np.r_[0.0, np.ones(shape[0] - 1)][:, None]

        def objective(theta: Array) -> tuple[float, Array]:
            weights = theta.reshape(shape)
            over = values[:, None] - rows @ weights
            decay = np.exp(-np.abs(over) / SMOOTH)
            loss = ((1 - LEVELS) * over + np.maximum(-over, 0) + SMOOTH * np.log1p(decay)).sum()
            by_quantile = np.where(over > 0, decay, 1.0) / (1 + decay) - (1 - LEVELS)
            gradient = rows.T @ by_quantile + penalty * slopes * weights
            return float(loss + 0.5 * penalty * (slopes * weights**2).sum()), gradient.ravel()

        start = np.zeros(shape)
        start[0] = np.quantile(values, 1 - LEVELS)
        self._slopes = _minimum(objective, start.ravel()).reshape(shape)[1:]
        self._base = sample_quantiles(self.raw(features, values))

    def loss(self, features: Array, values: Array) -> float:
        """Return the pinball loss, summed over levels."""
        over = self.raw(features, values) - self._base
        return float(np.maximum((1 - LEVELS) * over, -LEVELS * over).sum())

    def raw(self, features: Array, values: Array) -> Array:
        """Return h less what slopes explain, (n, levels)."""
        return np.asarray(values[:, None] - features @ self._slopes)

    def settle(self, raw: Array) -> None:
        """Take as intercepts the quantiles on held-out examples, which given the slopes have the least loss."""
        self._base = sample_quantiles(raw)

    def quantiles(self, features: Array) -> Array:
        """Return q_a(x), (n, levels), falling with a: sorted, lest two cross."""
        return np.sort(features @ self._slopes + self._base, axis=1)[:, ::-1]

    def score(self, features: Array, values: Array) -> Array:
        """Return z_{1-a} of the level at which q_a(x) is h, linear between levels and beyond them."""
        rising, levels = self.quantiles(features)[:, ::-1], Z[::-1]
        at = np.arange(len(values))
        above = np.clip((rising <= values[:, None]).sum(axis=1), 1, len(levels) - 1)
        low, high = rising[at, above - 1], rising[at, above]
        width = np.maximum(high - low, SMALLEST)
        slope = (levels[above] - levels[above - 1]) / width
        inside = levels[above - 1] + np.clip(values - low, 0, width) * slope
        # Beyond the outermost quantiles, where nothing was seen, a unit of the whole spread is a unit of the score.
        return np.asarray(inside + np.minimum(values - rising[:, 0], 0) + np.maximum(values - rising[:, -1], 0))


def sample_quantiles(values: Array) -> Array:
    """Return the sample quantile of the level of each column, (levels,): the least with a share 1 - a at or below."""
    columns = [np.quantile(values[:, i], 1 - a, method="inverted_cdf") for i, a in enumerate(LEVELS)]
    return np.array(columns)


class Scaled:
    """A regression of values of any size, by one of values of mean 0 and variance 1."""

    def __init__(self, regression: Gaussian | Pinball, shift: float, scale: float) -> None:
        self.regression, self.shift, self.scale = regression, shift, scale

    def score(self, features: Array, values: Array) -> Array:
        """Return (n,) scores: 0 at the median of non-members, 1.645 at q_{0.05}."""
        return self.regression.score(features, (values - self.shift) / self.scale)


def cross_fitted(head: type[Gaussian | Pinball], features: Array, values: Array, rng: np.random.Generator) -> Scaled:
    """Fit with the penalty of the least loss on held-out folds, and settle on what the folds that were held out gave.

    Residuals of the examples that a regression was fitted on are too small, and its quantiles too close.
    """
    shift, scale = float(values.mean()), float(values.std()) or 1.0
    values, fold = (values - shift) / scale, rng.permutation(len(values)) % FOLDS
    best, chosen = np.inf, (head.penalties[-1], np.zeros(0))
    for penalty in head.penalties:
        total, raws = 0.0, []
        for held in range(FOLDS):
            fitted = head(features[fold != held], values[fold != held], penalty)
            total += fitted.loss(features[fold == held], values[fold == held])
            raws.append(fitted.raw(features[fold == held], values[fold == held]))
        if total < best:
            best, chosen = total, (penalty, np.concatenate(raws))
    regression = head(features, values, chosen[0])
    regression.settle(chosen[1])
    return Scaled(regression, shift, scale)


def _with_one(features: Array) -> Array:
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def _minimum(objective: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
    from scipy.optimize import minimize

    return np.asarray(
        minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "ftol": ENOUGH}).x
    )
