"""Epsilon and noise: against the exact Gaussian mechanism, against another library, and at the edges."""

import math

import pytest
from privbench_dp.accounting import epsilon, noise_for
from scipy.optimize import brentq
from scipy.stats import norm

from privbench.errors import BadOption

DELTA = 1e-5


def exact(noise, delta=DELTA):
    """Return the epsilon of one Gaussian mechanism of sensitivity 1 (Balle & Wang 2018, theorem 8)."""

    def excess(e):
        half = 1 / (2 * noise)
        return norm.cdf(half - e * noise) - math.exp(e + norm.logcdf(-half - e * noise)) - delta

    return brentq(excess, 0, 500)


def test_one_step_with_everybody_is_the_gaussian_mechanism():
    assert exact(1.0) == pytest.approx(4.3772, abs=5e-5)
    assert 4.3772 <= epsilon(1.0, 1.0, 1, DELTA) <= 4.3772 + 0.011
    assert 4.3772 <= epsilon(1.0, 1.0, 1, DELTA, "rdp") <= 4.3772 * 1.1


@pytest.mark.parametrize(("noise", "steps"), [(0.5, 1), (5.0, 40)])
def test_steps_with_everybody_compose_to_one_with_less_noise(noise, steps):
    truth = exact(noise / math.sqrt(steps))
    assert truth <= epsilon(noise, 1.0, steps, DELTA) <= truth + 0.011
    assert truth <= epsilon(noise, 1.0, steps, DELTA, "rdp") <= truth * 1.15


def test_another_library_agrees():
    pld = pytest.importorskip("dp_accounting.pld")
    dp = pytest.importorskip("dp_accounting")
    accountant = pld.PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1.5)), 100)
    truth = accountant.get_epsilon(DELTA)
    assert epsilon(1.5, 0.1, 100, DELTA) == pytest.approx(truth, abs=0.02)
    assert truth <= epsilon(1.5, 0.1, 100, DELTA, "rdp") <= truth * 1.2


def test_sampling_protects_and_steps_and_little_noise_do_not():
    usual = epsilon(1.0, 0.05, 50, DELTA)
    assert epsilon(1.0, 0.02, 50, DELTA) < usual < epsilon(1.0, 0.1, 50, DELTA)
    assert epsilon(1.0, 0.05, 25, DELTA) < usual < epsilon(0.8, 0.05, 50, DELTA)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_the_edges(accountant):
    assert epsilon(0.0, 0.5, 10, DELTA, accountant) == math.inf
    assert epsilon(0.0, 1.0, 10, DELTA, accountant) == math.inf
    assert epsilon(0.0, 0.5, 0, DELTA, accountant) == 0
    assert epsilon(1.0, 0.5, 0, DELTA, accountant) == 0
    assert noise_for(math.inf, 0.5, 10, DELTA, accountant) == 0
    assert 1e3 < epsilon(0.01, 0.2, 100, DELTA, accountant) < math.inf  # PRV itself would take gigabytes
    assert 0 <= epsilon(1e4, 1.0, 1, DELTA, accountant) < 0.02


@pytest.mark.parametrize(("accountant", "rate"), [("prv", 0.05), ("prv", 1.0), ("rdp", 1.0)])
def test_noise_is_enough_and_not_much_more(rate, accountant):
    noises = []
    for target in (0.5, 4.0):
        noises.append(noise_for(target, rate, 60, DELTA, accountant))
        assert target * 0.99 <= epsilon(noises[-1], rate, 60, DELTA, accountant) <= target
        assert float(f"{noises[-1]:.4g}") == noises[-1]
    assert noises[0] > noises[1]


def test_noise_for_targets_beyond_the_tight_accountant():
    for target in (90.0, 110.0, 1000.0):
        assert target * 0.97 <= epsilon(noise_for(target, 1.0, 60, DELTA), 1.0, 60, DELTA) <= target


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ((1.0, 0.0, 10, DELTA), "rate=0"),
        ((1.0, 1.5, 10, DELTA), "rate=1.5"),
        ((1.0, 0.5, -1, DELTA), "steps=-1"),
        ((1.0, 0.5, 10, 0.0), "delta=0"),
        ((1.0, 0.5, 10, 1.0), "delta=1"),
    ],
)
def test_values_out_of_range_are_refused(values, fault):
    for function in (epsilon, noise_for):
        with pytest.raises(BadOption, match=fault):
            function(*values)


def test_impossible_noise_and_targets_are_refused():
    for noise in (-1.0, math.nan):
        with pytest.raises(BadOption, match="noise="):
            epsilon(noise, 0.5, 10, DELTA)
    for target in (0.0, -1.0, math.nan):
        with pytest.raises(BadOption, match="epsilon="):
            noise_for(target, 0.5, 10, DELTA)
    with pytest.raises(BadOption, match="no noise up to"):
        noise_for(1e-9, 0.5, 10, DELTA)
