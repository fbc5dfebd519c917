import numpy as np
import pytest
from scipy.stats import spearmanr

from privbench.builtin.audits.resampling import by_model, by_pair, over_examples, spearman, whole_places
from privbench.population.membership import members


def test_each_pair_ranks_every_example_once_by_the_model_that_counts():
    member = np.array([[True, True, False, False], [False, False, True, True]])
    u = np.array([[3.0, 1.0, 100.0, 100.0], [-100.0, -100.0, 5.0, 5.0]])
    assert by_pair(u, member).tolist() == [[0.75, 0.25, 0.5, 0.5]]  # of two each; a tie shares its places
    assert by_pair(u, ~member).tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_places_are_a_permutation_that_keeps_the_order():
    fractions = np.array([[0.2, 0.9, 0.2, 0.5]])
    seen = set()
    for seed in range(20):
        (places,) = whole_places(fractions, np.random.default_rng(seed))
        assert sorted(places) == [0, 1, 2, 3]
        assert (places[3], places[1]) == (2, 3)
        seen.add(tuple(places))
    assert len(seen) == 2  # the tie falls both ways


def test_ties_do_not_look_like_agreement():
    """Of constant scores, every ranking is a random one."""
    n, models = 400, 8
    member = np.stack([members(0, model, n) for model in range(models)])
    places = whole_places(by_pair(np.zeros((models, n)), member), np.random.default_rng(0))
    correlations = spearman(places, places)[np.triu_indices(4, 1)]
    assert abs(correlations.mean()) < 0.06


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.integers(5, size=(2, 50)), rng.normal(size=(3, 50))
    expected = [[spearmanr(x, y).statistic for y in b] for x in a]
    assert spearman(a, b) == pytest.approx(np.array(expected))


def test_spearman_of_a_constant_is_nan():
    found = spearman(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]), np.array([[3.0, 2.0, 1.0]]))
    assert np.isnan(found[0, 0])
    assert found[1, 0] == pytest.approx(-1.0)


def test_the_bootstrap_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).normal(size=400)
    found = over_examples(lambda rows: x[rows].mean(), 400, np.random.default_rng(1), reason="", resamples=2000)
    half = 1.96 * x.std() / 20
    assert found.value == pytest.approx(x.mean())
    assert found.low == pytest.approx(x.mean() - half, abs=0.015)
    assert found.high == pytest.approx(x.mean() + half, abs=0.015)
    assert found.n == 400


def test_what_is_not_defined_is_not_available():
    found = over_examples(lambda rows: float("nan"), 5, np.random.default_rng(0), reason="nothing there")
    assert found.value is None
    assert found.note == "nothing there"


def test_resamples_without_a_value_are_left_out():
    x = np.array([0.0, 0.0, 0.0, 1.0])
    rng = np.random.default_rng(0)
    found = over_examples(lambda rows: 1.0 if x[rows].any() else float("nan"), 4, rng, reason="")
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def test_ranks_of_each_model_by_hand():
    u = np.array([[5.0, 1.0, 5.0, 7.0], [0.0, 1.0, 2.0, 3.0]])
    assert by_model(u).tolist() == [[0.5, 0.125, 0.5, 0.875], [0.125, 0.375, 0.625, 0.875]]
