"""Expected privacy loss of a generated set: the KL divergence from the same set without a record's K neighbours.

Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, 2018 (1803.03148), section 4.2: a record is
"removed" from an artificial set by removing the K artificial points nearest to it; its loss is the KL divergence
between the set and the remaining points, by the nearest-neighbour estimator of Perez-Cruz (Kullback-Leibler Divergence
Estimation of Continuous Distributions, ISIT 2008). NumPy only, independent of the feature space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from privbench.builtin.audits.leave_out import LeaveOut, distinct, tolerance
from privbench.builtin.audits.loss_bounds import bound, sample_bound, upper_semideviation
from privbench.errors import DataError
from privbench.stats import intervals
from privbench.stats.intervals import LEVEL, Estimate
from privbench.stats.neighbours import ranked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privbench.aliases import Array

    Choice = Literal["kappa", "closed-form"]

SWEEP = (1, 5, 20, 100)
FIRST = max(SWEEP)
"""Number of nearest artificial points sorted for each record at first."""
CHOOSERS = 256
"""Number of records, evenly spaced, whose mean loss determines K."""
RESAMPLES = 1000
MOST_REMOVED = 2
"""At most 1 / MOST_REMOVED of a set is removed for one record."""


def kl_divergence(x: Array, y: Array, *, k: int = 1, neighbours_in_y: int | None = None) -> float:
    """Return the estimate of D(P || Q) in nats from samples x (n, d) of P and y (m, d) of Q (Perez-Cruz 2008).

    (d / n) sum log(nu / rho) + log(m / (n - 1)): rho is the distance of a point of x to its k-th neighbour in x, nu to
    its k-th, or another, in y. It can be negative. Raises DataError for a distance of 0, which has no logarithm.
    """
    other = k if neighbours_in_y is None else neighbours_in_y
    (n, d), m = x.shape, len(y)
    rho = ranked(x, x, k, alone=True)[0][:, -1]
    nu = ranked(x, y, other)[0][:, -1]
    zero = int(((rho == 0) | (nu == 0)).sum())
    if zero:
        raise DataError(f"{zero} of {n} points coincide with a neighbour, and log 0 is no number; drop duplicates.")
    from scipy.special import digamma

    # With equally many neighbours on both sides the two biases cancel.
    return float(d * np.log(nu / rho).mean() + math.log(m / (n - 1)) + digamma(k) - digamma(other))


def closed_form_k(kappa: float, n: int) -> int:
    """Return ceil(n (1 - exp(-kappa))), at least 1: K for evenly spread points, from kappa = log(n / (n - K))."""
    return max(1, math.ceil(-n * math.expm1(-max(kappa, 0.0))))


@dataclass(frozen=True, eq=False)
class Side:
    """The losses of some records, and the resulting bounds."""

    losses: Array
    """(N,) float64, nats; negative ones are not clipped."""
    gamma: float

    @property
    def mean(self) -> float:
        """The expected privacy loss."""
        return float(self.losses.mean())

    @property
    def sigma_plus(self) -> float:
        """Upper semi-deviation."""
        return upper_semideviation(self.losses)

    @property
    def mu(self) -> float:
        """Bound at gamma, with the losses as the whole distribution."""
        return bound(self.losses, self.gamma)

    @property
    def mu_sample(self) -> float | None:
        """Bound at gamma for one more record; None if there are too few losses."""
        found = sample_bound(self.losses, self.gamma)
        return found if math.isfinite(found) else None


@dataclass(frozen=True, eq=False)
class PrivacyLoss:
    """The result of `expected_privacy_loss`."""

    k: int
    """Number of artificial points removed for each record."""
    kappa: float | None
    """KL(records || artificial), if it was needed for the choice of K and could be estimated."""
    points: int
    """Number of distinct artificial points."""
    dimension: int
    members: Side
    heldout: Side | None
    """The control: records that the generator never saw."""
    difference: Estimate | None
    """mu of members - mu of held-out records, with a bootstrap interval over records."""
    closer: Estimate | None
    """AUC of closeness to the nearest artificial point, members against held-out records; 0.5 without a leak."""
    sweep: tuple[tuple[int, Side, Side | None], ...]
    """(K, members, held-out) for other K."""
    notes: tuple[str, ...]


def expected_privacy_loss(
    real: Array,
    artificial: Array,
    heldout: Array | None = None,
    *,
    k: int | Literal["auto"] = "auto",
    choice: Choice = "kappa",
    gamma: float = 1e-5,
    dimension: int | None = None,
    sweep: Sequence[int] = SWEEP,
    seed: int = 0,
) -> PrivacyLoss:
    """Return the expected privacy loss of real records (N, d) in an artificial set (n, d), and of held-out records.

    k: number of points removed; auto: by `choice` from kappa = KL(real || artificial), all of it attributed to one
        record: the smallest K with a mean loss of kappa (`kappa`), or `closed_form_k`
    seed: of the bootstrap

    Held-out and real records are thinned evenly to the same number. Duplicate points count once. Raises DataError for
    arrays that do not fit or are too small.
    """
    real, artificial = _rows("real", real), _rows("artificial", artificial)
    if heldout is not None:
        heldout = _rows("heldout", heldout)
        count = min(len(real), len(heldout))
        real, heldout = thin(real, count), thin(heldout, count)
    widths = {part.shape[1] for part in (real, artificial, heldout) if part is not None}
    if len(widths) > 1:
        raise DataError(f"real, artificial and held-out points differ in width: {sorted(widths)}.")
    if not 0 < gamma < 1:
        raise DataError(f"gamma is {gamma:g}; it is a probability between 0 and 1.")
    same, given = tolerance(artificial), len(artificial)
    artificial = artificial[distinct(artificial, same)[0]]
    leave, n, notes = LeaveOut(artificial, dimension), len(artificial), []
    if n < given:
        notes.append(f"{given - n} of {given} synthetic points repeat others and were dropped.")
    records = [_Records(rows, artificial) for rows in (real, heldout) if rows is not None]
    kappa = None
    if k == "auto":
        kappa = _kappa(real, records[0].order(1)[0][:, 0], leave, same)
        k = _choose(leave, thin(real, CHOOSERS), kappa, choice, notes)
    wanted = sorted({k, *(each for each in sweep if each <= n // MOST_REMOVED)})
    if not 1 <= k <= n - 2:
        raise DataError(f"k = {k}, but of {n} distinct synthetic points 1 to {n - 2} can be left out.")
    sides = [{each: Side(leave.losses(one.order(each)[1]), gamma) for each in wanted[::-1]} for one in records]
    rows = tuple((each, sides[0][each], sides[1][each] if heldout is not None else None) for each in wanted)
    _, members, control = next(row for row in rows if row[0] == k)
    if members.mu_sample is None:
        notes.append(
            f"The bound for one more record at gamma = {gamma:g} takes {math.ceil(1 / gamma - 1e-6) - 1:,} records; "
            f"of {len(real):,} there is none."
        )
    return PrivacyLoss(
        k=k,
        kappa=kappa,
        points=n,
        dimension=leave.dimension,
        members=members,
        heldout=control,
        difference=None if control is None else _difference(members, control, seed),
        closer=None if heldout is None else _closer(*(one.order(1)[0][:, 0] for one in records)),
        sweep=rows,
        notes=tuple(notes),
    )


def thin(rows: Array, most: int) -> Array:
    """Return at most so many rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _rows(name: str, points: Array) -> Array:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or len(points) < 2 or not np.isfinite(points).all():  # noqa: PLR2004 - rows and columns; a spread
        raise DataError(f"{name} points have shape {points.shape}; expected 2 or more rows of finite numbers.")
    return points


class _Records:
    """Records, and the nearest artificial points of each, as far as they were requested."""

    def __init__(self, rows: Array, artificial: Array) -> None:
        self.rows, self.artificial = rows, artificial
        self._distances, self._indices = ranked(rows, artificial, min(FIRST, len(artificial)))

    def order(self, k: int) -> tuple[Array, Array]:
        """Return distances and indices of the k nearest artificial points, (N, k) each."""
        if k > self._indices.shape[1]:
            self._distances, self._indices = ranked(self.rows, self.artificial, k)
        return self._distances[:, :k], self._indices[:, :k]


def _kappa(real: Array, nu: Array, leave: LeaveOut, same: float) -> float | None:
    """Return KL(real || artificial) over the records without an exact copy in the artificial set; None without any.

    nu: (N,) distances to the nearest artificial point
    """
    kept, rho = distinct(real, same)
    apart = nu[kept] > same
    if len(kept) < 2 or not apart.any():  # noqa: PLR2004 - a neighbour
        return None
    ratio = np.log(nu[kept][apart] / rho[apart]).mean()
    return float(leave.dimension * ratio + math.log(len(leave.points) / (len(kept) - 1)))


def _choose(leave: LeaveOut, real: Array, kappa: float | None, choice: Choice, notes: list[str]) -> int:
    if kappa is None:
        notes.append("All records are published unchanged, so kappa is undefined; K is 1.")
        return 1
    most = len(leave.points) // MOST_REMOVED
    if choice == "closed-form":
        k = closed_form_k(kappa, len(leave.points))
    else:
        few = _Records(real, leave.points)
        k = smallest(lambda each: leave.losses(few.order(each)[1]).mean() >= kappa, most)
    if k > most:
        notes.append(f"kappa asks for K above half of the synthetic points, so far off are they; K is {most}.")
    return min(k, most)


def smallest(holds: Callable[[int], bool], most: int) -> int:
    """Return the smallest integer from 1 to `most` for which a monotone condition holds, most + 1 if there is none.

    By doubling, then bisection.
    """
    low, high = 0, 1
    while not holds(min(high, most)):
        if high >= most:
            return most + 1
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _difference(members: Side, heldout: Side, seed: int) -> Estimate:
    """Return the difference of mu, with a percentile bootstrap over the records of both sides."""
    rng = np.random.default_rng(seed)

    def resampled(losses: Array) -> Array:
        return np.array([bound(rng.choice(losses, len(losses)), members.gamma) for _ in range(RESAMPLES)])

    drawn = resampled(members.losses) - resampled(heldout.losses)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return intervals.estimate(members.mu - heldout.mu, float(low), float(high), len(members.losses) * 2)


def _closer(members: Array, heldout: Array) -> Estimate:
    """Return the AUC of (N,) distances to the nearest artificial point, where small distances mean member."""
    member = np.repeat([True, False], [len(members), len(heldout)])
    return intervals.auc(-np.concatenate([members, heldout])[None], member[None])
