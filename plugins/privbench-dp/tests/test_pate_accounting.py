"""The cost of noisy votes, against closed forms, exact epsilons, and two other accountants."""

import math

import numpy as np
import pytest
from privbench_dp.pate_accounting import (
    ORDERS,
    epsilon_of,
    gnmax_epsilon,
    gnmax_rdp,
    lnmax_epsilon,
    lnmax_rdp,
    threshold_rdp,
)
from scipy import integrate, optimize, stats

DELTA = 1e-5


def exact_gaussian(mu, delta):
    """The epsilon of the Gaussian mechanism whose sensitivity is mu standard deviations (Balle & Wang 2018)."""

    def excess(epsilon):
        low, high = stats.norm.cdf(mu / 2 - epsilon / mu), stats.norm.logcdf(-mu / 2 - epsilon / mu)
        return low - math.exp(epsilon + high) - delta

    return optimize.brentq(excess, 0, 1000)


def renyi(log_p, log_q, order):
    """The Renyi divergence of two densities over the reals, by quadrature."""

    def integrand(x):
        return math.exp(order * log_p(x) + (1 - order) * log_q(x))

    pieces = [integrate.quad(integrand, *ends, limit=200)[0] for ends in [(-60, 0), (0, 1), (1, 60)]]
    return math.log(sum(pieces)) / (order - 1)


def test_the_exact_gaussian_mechanism_has_the_value_known_from_elsewhere():
    assert exact_gaussian(1.0, DELTA) == pytest.approx(4.3772, abs=1e-4)


@pytest.mark.parametrize("order", [1.5, 2.0, 8.0])
def test_a_threshold_costs_what_moving_a_normal_by_one_vote_costs(order):
    sigma = 2.0
    by_quadrature = renyi(stats.norm(1, sigma).logpdf, stats.norm(0, sigma).logpdf, order)
    assert threshold_rdp(np.array([order]), sigma)[0] == pytest.approx(by_quadrature, rel=1e-6)


@pytest.mark.parametrize("order", [1.5, 2.0, 8.0])
def test_an_argmax_with_gaussian_noise_costs_two_moved_votes(order):
    sigma = 2.0
    one_vote = renyi(stats.norm(1, sigma).logpdf, stats.norm(0, sigma).logpdf, order)
    assert gnmax_rdp(np.array([order]), sigma)[0] == pytest.approx(2 * one_vote, rel=1e-6)


@pytest.mark.parametrize("order", [1.5, 2.0, 8.0])
def test_an_argmax_with_laplace_noise_costs_two_moved_votes(order):
    gamma = 0.5
    one_vote = renyi(stats.laplace(1, 1 / gamma).logpdf, stats.laplace(0, 1 / gamma).logpdf, order)
    assert lnmax_rdp(np.array([order]), gamma)[0] == pytest.approx(2 * one_vote, rel=1e-6)


def test_laplace_noise_is_purely_private_and_moderate_orders_cost_less():
    gamma = 0.5
    costs = lnmax_rdp(ORDERS, gamma)
    assert (np.diff(costs) >= 0).all()
    assert costs[-1] <= 2 * gamma
    assert costs[-1] == pytest.approx(2 * gamma, rel=1e-3)
    assert (costs <= 2 * gamma**2 * ORDERS + 1e-12).all()  # the bound of the 2017 paper
    assert lnmax_epsilon(1, gamma=gamma, delta=DELTA) == pytest.approx(2 * gamma, rel=1e-3)


@pytest.mark.parametrize(
    ("queries", "answers", "sigma1", "sigma2"), [(76, 76, 15, 8), (640, 286, 150, 40), (1, 0, 5, 5)]
)
def test_gaussian_votes_cost_no_less_than_exactly_and_little_more(queries, answers, sigma1, sigma2):
    mu = math.sqrt(queries / sigma1**2 + 2 * answers / sigma2**2)  # Gaussian mechanisms compose into one
    exact = exact_gaussian(mu, DELTA)
    found = gnmax_epsilon(queries, answers, sigma1=sigma1, sigma2=sigma2, delta=DELTA)
    assert exact <= found <= 1.12 * exact


@pytest.mark.parametrize(("queries", "answers", "sigma1", "sigma2"), [(76, 76, 15, 8), (640, 286, 150, 40)])
def test_opacus_finds_the_same_epsilon(queries, answers, sigma1, sigma2):
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp")
    orders = np.linspace(1.1, 200, 4000)
    costs = rdp.compute_rdp(q=1, noise_multiplier=sigma1, steps=queries, orders=orders)
    costs = costs + rdp.compute_rdp(q=1, noise_multiplier=sigma2 / math.sqrt(2), steps=answers, orders=orders)
    other, _ = rdp.get_privacy_spent(orders=orders, rdp=costs, delta=DELTA)
    assert gnmax_epsilon(queries, answers, sigma1=sigma1, sigma2=sigma2, delta=DELTA) == pytest.approx(other, rel=1e-3)


def test_dp_accounting_finds_the_same_epsilons():
    dp = pytest.importorskip("dp_accounting")
    orders = [float(order) for order in np.linspace(1.1, 100, 1000)]
    accountant = dp.rdp.RdpAccountant(orders)
    accountant.compose(dp.GaussianDpEvent(15.0), 76)
    accountant.compose(dp.GaussianDpEvent(8 / math.sqrt(2)), 60)
    found = gnmax_epsilon(76, 60, sigma1=15.0, sigma2=8.0, delta=DELTA)
    assert found == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-3)

    accountant = dp.rdp.RdpAccountant(orders)
    accountant.compose(dp.LaplaceDpEvent(20.0), 2 * 100)
    assert lnmax_epsilon(100, gamma=1 / 20, delta=DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-3)


def test_epsilon_grows_with_every_query_and_answer_and_is_infinite_without_noise():
    def cost(queries, answers, sigma2=8.0):
        return gnmax_epsilon(queries, answers, sigma1=15.0, sigma2=sigma2, delta=DELTA)

    assert cost(0, 0) == pytest.approx(0, abs=1e-3)
    assert cost(0, 0) < cost(10, 0) < cost(10, 5) < cost(10, 10) < cost(20, 10)
    assert math.isinf(cost(10, 5, sigma2=0.0))
    assert math.isinf(gnmax_epsilon(10, 5, sigma1=0.0, sigma2=8.0, delta=DELTA))


def test_a_smaller_delta_asks_for_a_larger_epsilon():
    costs = gnmax_rdp(ORDERS, 8.0)
    found = [epsilon_of(ORDERS, costs, delta) for delta in (1e-3, 1e-5, 1e-8)]
    assert found == sorted(found)
    assert found[0] > 0
