import numpy as np
import pytest

from privbench.builtin.audits import exposure, resampling
from privbench.builtin.audits.attacked import Attacked
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve
from privbench.population.membership import members

ATTACK = resolve("attack", "m-entropy")


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 60)


def _found(scores, member=None):
    """An attack's decisions at 0 on a population of as many models."""
    models, n = scores.shape
    if member is None:
        member = np.stack([members(0, model, n) for model in range(models)])
    return Attacked(scores, scores >= 0, member)


def _null(seed, models=8, n=300):
    return _found(np.random.default_rng(seed).normal(size=(models, n)) + 0.3)


def _planted(seed, models=8, n=300, leak=3.0):
    """The first third of the examples have higher scores as members."""
    found = _null(seed, models, n)
    return _found(found.scores + leak * (found.member & (np.arange(n) < n // 3)))


def test_distances_by_hand():
    scores = np.array([[0.2, 0.9]])
    correctness = resolve("attack", "correctness")
    assert exposure.above_threshold(scores, ATTACK).tolist() == [[0.2, 0.9]]
    assert exposure.above_threshold(scores, correctness) == pytest.approx(np.array([[-0.3, 0.4]]))
    assert exposure.above_threshold(scores, correctness, "abs") == pytest.approx(np.array([[0.3, 0.4]]))


def test_without_a_threshold_there_is_no_absolute_distance():
    class Loss:
        name = "loss"

    assert exposure.above_threshold(np.ones((1, 1)), Loss()).tolist() == [[1.0]]
    with pytest.raises(CellFailed, match="'loss' has none"):
        exposure.above_threshold(np.ones((1, 1)), Loss(), "abs")


def test_rates_by_hand():
    member = np.array([[True, True], [False, False], [False, True], [True, False]])
    scores = np.array([[1.0, 2.0], [1.0, -1.0], [-1.0, -4.0], [3.0, -1.0]])
    each = exposure.Exposure.of(_found(scores, member), scores)
    assert each.r_in.tolist() == [1.0, 0.5]
    assert each.r_out.tolist() == [0.5, 0.0]
    assert each.advantage.tolist() == [0.5, 0.5]
    assert each.distance.tolist() == [2.0, -1.0]
    assert [row["example"] for row in each.most(5, np.array([7, 8]))] == [0, 1]  # equal A: the larger distance first
    assert each.most(1, np.array([7, 8])) == [
        {"example": 0, "label": 7, "R_in": 1.0, "R_out": 0.5, "A": 0.5, "distance": 2.0}
    ]
    assert each.most(0, np.array([7, 8])) == []


def test_the_most_exposed_are_those_that_leak():
    found = _planted(0)
    top = exposure.Exposure.of(found, found.scores).most(10, np.zeros(300, int))
    assert all(row["example"] < 100 for row in top)


def test_arrays_hold_the_posterior():
    found = _null(0)
    arrays = exposure.Exposure.of(found, found.scores).arrays(found)
    assert set(arrays) == {"R_in", "R_out", "A", "distance", "R_in_low", "R_in_high", "R_out_low", "R_out_high"}
    always = arrays["R_in"] == 1  # 4 of 4: Beta(5, 1)
    assert arrays["R_in_low"][always] == pytest.approx(0.025 ** (1 / 5))


def test_a_null_is_not_rejected_and_a_leak_is():
    null, leak = _null(1), _planted(1)
    found = exposure.spread(null.decisions, null.member, "in", np.random.default_rng(0))
    assert found["chi2_in_p"] > 0.05
    assert found["shuffled_in_p"] > 0.05
    assert found["chi2_in_df"] == 299
    assert found["dispersion_in"].low < 1.1
    found = exposure.spread(leak.decisions, leak.member, "in", np.random.default_rng(0))
    assert found["chi2_in_p"] < 1e-4
    assert found["shuffled_in_p"] == pytest.approx(1 / 500)
    assert found["dispersion_in"].low > 1.1
    found = exposure.spread(leak.decisions, ~leak.member, "out", np.random.default_rng(0))
    assert found["chi2_out_p"] > 0.05


@pytest.mark.parametrize(("models", "score", "why"), [(2, None, "one trial"), (8, 1.0, "nothing, or everything")])
def test_where_no_spread_can_be_seen(models, score, why):
    found = _null(0, models) if score is None else _found(np.full((models, 50), score))
    (estimate,) = exposure.spread(found.decisions, found.member, "in", np.random.default_rng(0)).values()
    assert estimate.value is None
    assert why in estimate.note


def test_agreement_of_noise_is_built_in_but_not_between_models():
    found = _null(2, n=600)
    values = exposure.agreement(found, found.scores, np.random.default_rng(0))
    assert values["spearman_signed"].low > 0.4
    assert values["spearman_signed_split"].low < 0 < values["spearman_signed_split"].high
    assert values["spearman_abs_split"].low < 0 < values["spearman_abs_split"].high
    leak = _planted(2, n=600)
    assert exposure.agreement(leak, leak.scores, np.random.default_rng(0))["spearman_signed_split"].low > 0.2


def test_agreement_with_a_rate_that_is_always_one():
    found = _found(np.abs(_null(0).scores))
    values = exposure.agreement(found, found.scores, np.random.default_rng(0))
    assert values["spearman_signed"].value is None
    assert "same for all" in values["spearman_signed"].note


def test_advantage_is_the_difference_of_mean_rates():
    found = _planted(3)
    rate_in = found.decisions[found.member].mean()
    rate_out = found.decisions[~found.member].mean()
    advantage = exposure.advantage(found)
    assert advantage.value == pytest.approx(rate_in - rate_out)
    assert 0 < advantage.low < advantage.value < advantage.high
    assert exposure.advantage(_found(found.scores, np.ones_like(found.member))).value is None


def test_levels_by_chance():
    assert exposure.level_chance(5, 0.5, None) == pytest.approx((1 / 32, 15 / 16, 1 / 32))
    assert exposure.level_chance(3, 0.5, 2) == pytest.approx((0.5, 0.0, 0.5))


def test_level_rows_by_hand():
    member = np.array([[True, True, True, False], [False, False, False, True]])
    scores = np.array([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]])
    safe, vague, risky = exposure.level_rows(np.array([0, 0, 2, 2]), _found(scores, member), (0.1, 0.8, 0.1))
    assert safe["level"], vague["level"] == ("safe", "vague")
    assert (safe["examples"], safe["share"], safe["by chance"]) == (2, 0.5, 0.1)
    assert (safe["R_in"], safe["R_out"], safe["A"]) == (0.5, 0.0, 0.5)
    assert (vague["examples"], vague["R_in"], vague["A"]) == (0, None, None)
    assert (risky["R_in"], risky["R_out"]) == (1.0, 1.0)


def test_histogram_rows_count_every_example_on_both_sides():
    rows = exposure.histogram_rows(_null(0))
    assert [row["R"] for row in rows] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert sum(row["members"] for row in rows) == sum(row["non-members"] for row in rows) == 300
    assert all(abs(row["members"] - row["members by chance"]) < 40 for row in rows)
