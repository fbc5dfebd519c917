"""Privacy levels from an ensemble's votes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from privbench import learn
from privbench.api import Context
from privbench.builtin.defenses import valuation
from privbench.builtin.defenses.relaxloss import RelaxLoss
from privbench.builtin.defenses.valuation import RISKY, SAFE, VAGUE, ValuationOptions
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption, DataError
from privbench.testing.toy import ToyTask, blueprint


@pytest.fixture(scope="module")
def toy():
    task = ToyTask(epochs=4)
    dataset = task.load()
    pool = dataset.role("pool")
    return blueprint(task, dataset), pool[:24], pool[24:], Context(seed=1, reference=dataset.role("reference"))


def rankings(models, n, seed):
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n) for _ in range(models)])


@given(
    models=st.integers(1, 7),
    n=st.integers(1, 60),
    quantile=st.floats(0.01, 0.5),
    less=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_levels_are_what_the_votes_say_and_never_two_at_once(models, n, quantile, less, seed):
    needed = max(models // 2 + 1, models - less)
    places = rankings(models, n, seed)
    found = valuation.levels(places, quantile, needed)
    assert (found.dtype, found.shape) == (np.int8, (n,))
    for i in range(n):
        safe = sum(place < quantile * n for place in places[:, i]) >= needed
        risky = sum(place >= (1 - quantile) * n for place in places[:, i]) >= needed
        assert not (safe and risky)
        assert found[i] == (SAFE if safe else RISKY if risky else VAGUE)


def test_votes_of_three_models_on_four_examples_by_hand():
    places = np.array([[0, 1, 2, 3], [1, 2, 0, 3], [0, 3, 1, 2]])
    assert valuation.levels(places).tolist() == [SAFE, VAGUE, VAGUE, RISKY]
    assert valuation.levels(places, votes=2).tolist() == [SAFE, RISKY, SAFE, RISKY]
    assert valuation.levels(places, quantile=0.25).tolist() == [VAGUE] * 4
    assert valuation.levels(places, quantile=0.25, votes=2).tolist() == [SAFE, VAGUE, VAGUE, RISKY]


@pytest.mark.parametrize(("quantile", "votes"), [(0.6, 3), (0.5, 1), (0.5, 4), (0.0, 3)])
def test_what_makes_no_partition_is_refused(quantile, votes):
    with pytest.raises(BadOption, match="no partition"):
        valuation.levels(rankings(3, 8, 0), quantile, votes)


def test_options_refuse_votes_that_make_no_partition():
    for votes, models in ((2, 5), (6, 5), (2, 4)):
        with pytest.raises(ValidationError, match="both safe and risky"):
            ValuationOptions(votes=votes, valuation_models=models)
    assert ValuationOptions(votes=3).votes == 3
    assert ValuationOptions(valuation_models=1).votes is None


def test_a_member_far_below_the_threshold_is_safe_by_sign_and_risky_by_distance():
    u = np.array([[-9.0, -0.1, 0.2, 3.0]])
    assert valuation.ranks(u, "signed").tolist() == [[0, 1, 2, 3]]
    assert valuation.ranks(u, "abs").tolist() == [[3, 0, 1, 2]]
    assert valuation.levels(valuation.ranks(u, "signed"))[0] == SAFE
    assert valuation.levels(valuation.ranks(u, "abs"))[0] == RISKY


def test_each_models_ranking_is_its_own():
    u = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, -5.0]])
    assert valuation.ranks(u).tolist() == [[2, 0, 1], [1, 2, 0]]


@pytest.mark.parametrize(("start", "end", "null"), [(0.75, 1.0, 0.0039), (0.5, 1.0, 0.0625), (0.0, 0.5, 0.0625)])
def test_independent_rankings_overlap_as_the_null_says_and_equal_ones_wholly(start, end, null):
    assert valuation.overlap_null(5, start, end) == pytest.approx(null, abs=5e-5)
    n = 40_000
    found = valuation.overlap(rankings(5, n, 0), start, end)
    assert found == pytest.approx(null, abs=4 * np.sqrt(null / (n * (end - start))))
    same = np.tile(np.random.default_rng(0).permutation(103), (5, 1))
    assert valuation.overlap(same, start, end) == 1.0


def test_the_overlap_table_holds_each_bin_with_its_null():
    places = rankings(3, 40, 0)
    table = valuation.overlap_table(places)
    assert table.shape == (len(valuation.BINS), 4)
    start, end, found, null = table[-1]
    assert (start, end) == (0.75, 1.0)
    assert found == (places >= 30).all(axis=0).sum() / 10
    assert null == 1 / 16
    assert np.isnan(valuation.overlap(rankings(2, 3, 0), 0.0, 0.0))


def test_thresholds_separate_members_from_reference_and_classes_from_each_other():
    scores = np.array([2.0, 3.0, 12.0, 13.0, 0.0, 1.0, 10.0, 11.0])
    y = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    member = np.arange(8) < 4
    labels = np.array([0, 1, 2])
    assert valuation.thresholds(scores, y, member, labels, "class").tolist()[:2] == [1.5, 11.5]
    overall = valuation.thresholds(scores, y, member, labels, "global")
    assert len(set(overall)) == 1
    # Class 2 has neither members nor others, so it takes the global one.
    assert valuation.thresholds(scores, y, member, labels, "class")[2] == overall[0]


def test_an_ensemble_values_members_and_generated_examples_with_seeds_of_its_own(toy):
    task, members, fakes, ctx = toy
    u = valuation.distances(task, members, fakes, ctx, ValuationOptions(valuation_models=3))
    assert (u.shape, u.dtype) == ((3, 48), np.float64)
    assert np.isfinite(u).all()
    assert not np.array_equal(u[0], u[1])
    again = valuation.distances(task, members, fakes, ctx, ValuationOptions(valuation_models=3))
    assert np.array_equal(u, again)
    other = dataclasses.replace(ctx, seed=2)
    assert not np.array_equal(u, valuation.distances(task, members, fakes, other, ValuationOptions(valuation_models=3)))


def test_the_distance_is_the_signal_above_the_best_threshold_against_the_reference(toy, monkeypatch):
    task, members, fakes, ctx = toy
    seen = []

    def threshold(scores, member):
        seen.append((len(scores), member.copy()))
        return 0.25

    monkeypatch.setattr("privbench.stats.metrics.best_threshold", threshold)
    options = ValuationOptions(valuation_models=1)
    u = valuation.distances(task, members, fakes, ctx, options)
    assert (u + 0.25).max() <= 0  # minus a modified entropy
    ((count, member),) = seen
    assert count == len(members) + len(fakes) + len(ctx.reference)
    assert member.tolist() == [True] * 48 + [False] * len(ctx.reference)

    seen.clear()
    valuation.distances(task, members, fakes, ctx, dataclasses.replace(options, valued="real_only"))
    ((count, member),) = seen
    assert member.tolist() == [True] * 24 + [False] * len(ctx.reference)


def test_real_only_never_trains_on_generated_examples(toy, monkeypatch):
    task, members, fakes, ctx = toy
    trained, train = [], learn.train

    def watched(task, examples, *args, **options):
        trained.append((len(examples), options["recipe"].epochs))
        return train(task, examples, *args, **options)

    monkeypatch.setattr(learn, "train", watched)
    for valued in ("union", "real_only"):
        valuation.distances(
            task, members, fakes, ctx, ValuationOptions(valuation_models=1, valued=valued, valuation_steps=1.0)
        )
    assert trained == [(48, 2), (24, 4)]  # as many steps
    half = ValuationOptions(valuation_models=1, valued="real_only", valuation_steps=0.5)
    valuation.distances(task, members, fakes, ctx, half)
    assert trained[2:] == [(24, 2)]


def test_only_the_reference_sets_thresholds_and_there_must_be_one(toy):
    task, members, fakes, ctx = toy
    options = ValuationOptions(valuation_models=1)
    u = valuation.distances(task, members, fakes, ctx, options)
    x = ctx.reference.x
    moved = dataclasses.replace(ctx, reference=Examples(255 - x, ctx.reference.y))
    shift = valuation.distances(task, members, fakes, moved, options) - u
    np.testing.assert_allclose(shift, shift[0, 0])  # one threshold for all, and nothing else
    assert shift[0, 0] != 0
    validation = dataclasses.replace(ctx, validation=members)
    assert np.array_equal(valuation.distances(task, members, fakes, validation, options), u)
    for nothing in (None, ctx.reference[:0]):
        with pytest.raises(DataError, match="reference"):
            valuation.distances(task, members, fakes, dataclasses.replace(ctx, reference=nothing), options)


@pytest.mark.parametrize(
    "options",
    [{"valuation": "ce"}, {"alpha": 3.0}, {"threshold": "class"}, {"valued": "real_only"}, {"valuation_steps": 2.0}],
)
def test_options_change_what_is_found_and_where_it_is_kept(toy, options):
    task, members, fakes, ctx = toy
    keys = []

    def keep(name, key, make, inner):
        keys.append((name, key["options"], key["model_free"]))
        return make(inner)

    ctx = dataclasses.replace(ctx, keep=keep)
    base = ValuationOptions(valuation_models=1, valuation_steps=1.0)
    pair = [base, dataclasses.replace(base, **options)]
    found = [valuation.distances(task, members, fakes, ctx, each) for each in pair]
    assert not np.array_equal(*found)
    assert [key[0] for key in keys] == ["valuation"] * 2
    assert not any(key[2] for key in keys)
    assert keys[0][1] != keys[1][1]


def test_the_level_of_relaxloss_is_the_defenses():
    assert ValuationOptions().alpha == RelaxLoss().alpha


def test_scaled_recipes_keep_their_schedule():
    recipe = valuation.scaled(Recipe(epochs=30, warmup=3, batch_size=16), 0.5)
    assert recipe == Recipe(epochs=15, warmup=1.5, batch_size=16)
    assert valuation.scaled(Recipe(epochs=1), 0.2).epochs == 1
