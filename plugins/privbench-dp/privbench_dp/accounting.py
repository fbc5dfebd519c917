"""Epsilon for noise, and noise for epsilon, of the Poisson-sampled Gaussian mechanism, by Opacus's accountants.

Neighbouring data sets differ by adding or removing one example. Both accountants give upper bounds: `prv` (Gopi et
al., NeurIPS 2021) one that is tight to 0.01 and looks no further than epsilon 100, `rdp` (Mironov et al. 2019) a looser
one. No search over options is accounted for.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Literal, TypeAlias

from privbench.errors import BadOption

Accountant: TypeAlias = Literal["prv", "rdp"]

PRV_ERROR = 0.01
PRV_UP_TO = 100.0
"""Above this epsilon, which protects nobody, PRV takes minutes and gigabytes; RDP's bound is given in its place."""
SLACK = 0.005
"""How far below its target the epsilon of a noise may lie, relative."""
ROUGH = 0.01
LEAST, MOST = 2.0**-10, 2.0**20
FEW_ORDERS = (*range(2, 13), 14, 16, 20, 24, 32, 48, 64, 96, 128, 256, 512)
ORDERS = (1.001, 1.01, 1.02, 1.05, *(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64), *FEW_ORDERS[-5:])


@functools.lru_cache(maxsize=1024)
def epsilon(noise: float, rate: float, steps: int, delta: float, accountant: Accountant = "prv") -> float:
    """Return the epsilon of (epsilon, delta)-differential privacy after some steps; infinite without noise.

    noise: standard deviation over the clipping norm; rate: probability that an example is in a step. Raises BadOption
    for values out of range.
    """
    _check(rate=rate, steps=steps, delta=delta)
    if not noise >= 0:
        raise BadOption(f"noise={noise}: a standard deviation is at least 0.")
    if not steps:
        return 0.0
    if not noise:
        return math.inf
    bound = _rdp(noise, rate, steps, delta, FEW_ORDERS)  # a hundredth of the work of all orders
    if accountant == "prv" and bound <= PRV_UP_TO:
        return min(bound, _prv(noise, rate, steps, delta, min(PRV_ERROR, bound / 100)))
    return min(bound, _rdp(noise, rate, steps, delta, ORDERS))


@functools.lru_cache(maxsize=256)
def noise_for(target: float, rate: float, steps: int, delta: float, accountant: Accountant = "prv") -> float:
    """Return the least noise, rounded up to four digits, whose epsilon is at most the target; 0 for an infinite one.

    Raises BadOption where that much noise is more than anybody would train with.
    """
    _check(rate=rate, steps=steps, delta=delta)
    if not target > 0:
        raise BadOption(f"epsilon={target}: it must be above 0.")
    if math.isinf(target) or not steps:
        return 0.0
    low, high = LEAST, MOST
    if _rdp(high, rate, steps, delta, FEW_ORDERS) > target:
        raise BadOption(f"epsilon={target:g} with delta={delta:g}: no noise up to {MOST:g} is enough.")
    while high > low * (1 + ROUGH):  # by a bound that costs little, and lies above the others by a tenth or so
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _rdp(middle, rate, steps, delta, FEW_ORDERS) <= target else (middle, high)
    high = _up(high)
    found = epsilon(high, rate, steps, delta, accountant)
    low = high
    while (above := epsilon(low, rate, steps, delta, accountant)) <= target and low > LEAST:
        low /= 1.1
    while found < target * (1 - SLACK) and high > low * (1 + SLACK / 10):
        part = math.log(found / (target * (1 - SLACK / 2))) / math.log(found / above)  # epsilon ~ noise ** -a
        between = _up(high * (low / high) ** min(max(part, 0.05), 0.95))
        now = epsilon(between, rate, steps, delta, accountant)
        if now <= target:
            high, found = between, now
        else:
            low, above = between, now
    return high


def _prv(noise: float, rate: float, steps: int, delta: float, error: float) -> float:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        # At rate 1 the loss has no lower end, and the accountant's log(1 - rate) is rightly -inf.
        warnings.filterwarnings("ignore", message="divide by zero encountered in log", category=RuntimeWarning)
        _any_order()
        return float(accountant.get_epsilon(delta, eps_error=error))


def _rdp(noise: float, rate: float, steps: int, delta: float, orders: tuple[float, ...]) -> float:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        _any_order()
        return max(0.0, float(accountant.get_epsilon(delta, alphas=list(orders))))


def _any_order() -> None:
    """Ignore, in a `catch_warnings`, that a further order might be tighter: every order's bound holds."""
    warnings.filterwarnings("ignore", message="Optimal order is the (smallest|largest) alpha", category=UserWarning)


def _up(noise: float) -> float:
    """Round up to four digits: still enough noise, and the same for every version of the accountants' libraries."""
    unit = 10.0 ** (math.floor(math.log10(noise)) - 3)
    return float(f"{math.ceil(noise / unit - 1e-9) * unit:.4g}")


def _check(*, rate: float, steps: int, delta: float) -> None:
    if not 0 < rate <= 1:
        raise BadOption(f"rate={rate:g}: the probability that an example is in a step lies in (0, 1].")
    if not 0 < delta < 1:
        raise BadOption(f"delta={delta:g}: it must lie between 0 and 1.")
    if steps < 0:
        raise BadOption(f"steps={steps}: it cannot be negative.")
