"""Privacy cost of noisy votes of teachers: data-independent Renyi differential privacy.

Two data sets are neighbours where one holds another example in one example's place. Teachers learn from disjoint
parts, so that one teacher at most changes its mind, at each query: one class loses a vote and one gains it, and the
largest count moves by one at most. Every bound here holds for any votes that do so, and is therefore no secret. The
tighter bounds of Papernot et al. (2017, 2018) depend on the votes: to publish one would leak, unless it is smoothed
and noised too.

`orders` are Renyi orders above 1, (k,) float64; what is returned for them are bounds, (k,) float64, that add up over
queries, also where a query depends on earlier answers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

ORDERS = 1 + np.geomspace(1e-3, 1e4, 2000)
"""From almost 1, for much noise or few queries, to where pure differential privacy begins."""


def threshold_rdp(orders: Array, sigma1: float) -> Array:
    """Return the cost of asking once whether the largest count, plus N(0, sigma1^2), reaches a threshold.

    Answered or not, it is paid. A Gaussian mechanism of sensitivity 1: order / (2 sigma1^2).
    """
    return orders / (2 * sigma1**2) if sigma1 else np.full_like(orders, math.inf)


def gnmax_rdp(orders: Array, sigma2: float) -> Array:
    """Return the cost of one argmax of counts, each plus N(0, sigma2^2): order / sigma2^2.

    A Gaussian mechanism of sensitivity sqrt(2), and the argmax of what it returns (Papernot et al. 2018, section 4.1).
    """
    return orders / sigma2**2 if sigma2 else np.full_like(orders, math.inf)


def lnmax_rdp(orders: Array, gamma: float) -> Array:
    """Return the cost of one argmax of counts, each plus Laplace noise of scale 1 / gamma; 2 gamma at most.

    Twice that of the Laplace mechanism of sensitivity 1 (Mironov 2017, proposition 6), as two counts change by one.
    """
    up = np.log(orders / (2 * orders - 1)) + (orders - 1) * gamma
    down = np.log((orders - 1) / (2 * orders - 1)) - orders * gamma
    cost: Array = 2 * np.logaddexp(up, down) / (orders - 1)
    return cost


def epsilon_of(orders: Array, rdp: Array, delta: float) -> float:
    """Return the least epsilon for which (epsilon, delta)-differential privacy follows; inf where none does.

    The conversion of Balle et al., Hypothesis Testing Interpretations and Renyi Differential Privacy, 2020, theorem 21.
    """
    epsilons = rdp + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(epsilons.min()))


def gnmax_epsilon(queries: int, answers: int, *, sigma1: float, sigma2: float, delta: float) -> float:
    """Return the epsilon of so many thresholds asked, of which so many, at most, were passed and answered.

    It holds before anything is asked: where teachers stop at `answers`, the count that does come out costs no more
    (a Renyi filter: Feldman & Zrnic, Individual Privacy Accounting via a Renyi Filter, 2021).
    """
    rdp = np.zeros_like(ORDERS)
    if queries:
        rdp = rdp + queries * threshold_rdp(ORDERS, sigma1)
    if answers:
        rdp = rdp + answers * gnmax_rdp(ORDERS, sigma2)
    return epsilon_of(ORDERS, rdp, delta)


def lnmax_epsilon(answers: int, *, gamma: float, delta: float) -> float:
    """Return the epsilon of so many noisy argmaxes with Laplace noise of scale 1 / gamma."""
    return min(epsilon_of(ORDERS, answers * lnmax_rdp(ORDERS, gamma), delta), 2 * gamma * answers)
