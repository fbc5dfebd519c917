import dataclasses

import numpy as np
import pytest

from privbench.builtin.audits import overlap, resampling
from privbench.builtin.audits.overlap import Overlap
from privbench.builtin.audits.resampling import by_pair, whole_places
from privbench.contracts.context import Context
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve
from privbench.population.membership import members

N, PAIRS = 1000, 3


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 60)


def _rankings(quality, seed=0, noise=1.0):
    """Rankings by pairs of half-split models that see each example's quality through noise of their own."""
    rng = np.random.default_rng(seed)
    member = np.stack([members(0, model, N) for model in range(2 * PAIRS)])
    return by_pair(quality + noise * rng.normal(size=member.shape), member)


def _places(rankings):
    return whole_places(rankings, np.random.default_rng(9))


def _rng():
    return np.random.default_rng(5)


QUALITY = np.random.default_rng(7).normal(size=N)


@pytest.mark.parametrize("edges", [(0.5, 1.0), (0.75, 1.0), (0.2, 0.5)])
def test_rankings_that_have_nothing_to_do_with_each_other_overlap_by_chance(edges):
    chance = (edges[1] - edges[0]) ** (PAIRS - 1)
    each = [overlap.overlap(_places(_rankings(0.0, seed)), *edges) for seed in range(40)]
    assert sum(found.low <= chance <= found.high for found in each) >= 36
    assert np.mean([found.value for found in each]) == pytest.approx(chance, rel=0.1)
    found = each[0]
    assert found.n == pytest.approx(N * (edges[1] - edges[0]))


def test_equal_rankings_overlap_wholly():
    places = np.tile(np.arange(40), (4, 1))
    found = overlap.overlap(places, 0.5, 1.0)
    assert (found.value, found.high, found.n) == (1.0, 1.0, 20)
    rows = overlap.bin_rows(places)
    assert {row["overlap"] for row in rows} == {1.0}
    assert rows[0]["by chance"] == pytest.approx(0.1**3)


def test_overlap_by_hand():
    places = np.array([[0, 1, 2, 3], [3, 1, 0, 2]])  # upper halves {2, 3} and {0, 3}
    assert overlap.overlap(places, 0.5, 1.0).value == 0.5
    assert overlap.overlap(places, 0.5, 0.6).value == 0.0


def test_a_bin_that_nothing_fits_into():
    assert overlap.overlap(np.array([[0, 1], [1, 0]]), 0.1, 0.2).value is None


def test_what_models_share_is_found_within_and_what_they_do_not_is_not():
    planted, null = _rankings(QUALITY, noise=0.5), _rankings(0.0)
    assert overlap.within(planted, _rng()).low > 0.6
    found = overlap.within(null, _rng())
    assert found.low < 0 < found.high
    assert overlap.overlap(_places(planted), 0.75, 1.0).low > 0.25


def test_what_two_defenses_share_is_found_between():
    one, other = _rankings(QUALITY, 1, 0.5), _rankings(QUALITY, 2, 0.5)
    stranger = _rankings(np.random.default_rng(8).normal(size=N), 3, 0.5)
    assert overlap.between(one, other, _rng()).low > 0.6
    found = overlap.between(one, stranger, _rng())
    assert found.low < 0 < found.high
    assert overlap.shared(_places(one), _places(other), 0.5, 1.0, _rng()).low > 0.7
    found = overlap.shared(_places(one), _places(stranger), 0.5, 1.0, _rng())
    assert found.low < 0.5 < found.high


def test_the_same_members_are_compared_apart():
    one, noise = _rankings(0.0, 1), _rankings(0.0, 2)
    half = (one + noise) / 2  # agrees with `one` pair by pair, and in nothing else
    assert overlap.between(one, half, _rng(), same=True).low > 0.5
    found = overlap.between(one, half, _rng())
    assert found.low < 0 < found.high


def test_sharing_by_hand():
    one = np.array([[0, 1, 2, 3], [0, 1, 2, 3]])
    other = np.array([[3, 2, 1, 0], [0, 3, 1, 2]])  # upper halves {0, 1} and {1, 3}; one's are {2, 3}
    assert overlap.shared(one, other, 0.5, 1.0, _rng()).value == pytest.approx((0 + 1) / (2 * 2))


def test_where_the_chosen_lie():
    chosen = np.tile(np.arange(100), (2, 1))
    rows = overlap.where_rows(chosen, chosen[:, ::-1])
    assert [row["share"] for row in rows] == pytest.approx([0.2] * 5 + [0.0] * 5)
    rows = overlap.where_rows(chosen, chosen[:, ::-1], upper=False)
    assert [row["share"] for row in rows] == pytest.approx([0.0] * 5 + [0.2] * 5)
    rows = overlap.where_rows(_places(_rankings(0.0, 1)), _places(_rankings(0.0, 2)))
    assert [row["share"] for row in rows] == pytest.approx([0.1] * 10, abs=0.05)
    assert sum(row["share"] for row in rows) == pytest.approx(1)


@pytest.fixture(scope="module")
def population(overfit, make_all):
    each = overfit(4, epochs=15, width=32)
    for release in Overlap().compared(each):
        make_all(release)
    return each


def test_populations_are_measured(population):
    found = Overlap().measure(population, Context())
    values, n = found.values, len(population.dataset.pool)
    assert values["rankings"] == 2
    assert values["chance_top50"] == 0.5
    assert values["chance_top25"] == 0.25
    assert values["spearman_ce"].low <= values["spearman_ce"].value <= values["spearman_ce"].high
    assert {"overlap_top25_relaxloss", "spearman_relaxloss_nonmembers", "spearman_ce_relaxloss"} < set(values)
    assert len(found.tables) == 4
    assert values["train_accuracy_ce"].value >= values["test_accuracy_ce"].value
    assert found.arrays["ranking_ce"].shape == (2, n)
    assert found.values == Overlap().measure(population, Context()).values


def test_what_it_is_compared_with(population):
    relaxed = dataclasses.replace(population, defense=resolve("defense", "relaxloss"))
    other = dataclasses.replace(population, defense=resolve("defense", "relaxloss:alpha=0.5"))
    assert list(Overlap().compared(population)) == [relaxed]
    assert list(Overlap().compared(relaxed)) == [population]
    assert list(Overlap(attack="m-entropy:shadows=undefended").compared(other)) == [population, relaxed]


def test_it_takes_two_pairs(population):
    with pytest.raises(CellFailed, match="at least 4 models"):
        Overlap().measure(dataclasses.replace(population, models=2), Context())
