"""Canaries are fixed by the pool alone, made as their kind says, and counted by themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.builtin.attacks.threshold import Confidence
from privbench.data.canaries import plant
from privbench.data.dataset import Dataset, Examples
from privbench.errors import BadOption, DataError
from privbench.plugins.loading import resolve
from privbench.stats import intervals

N, CLASSES = 60, 5
ROLES = (np.arange(5, 45), np.arange(45, 50), np.arange(50, 55), np.arange(55, 60))


def dataset(shape=(3, 4, 3)):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, *shape)).astype(np.uint8 if len(shape) > 1 else np.float32)
    return Dataset(Examples(x, np.arange(N) % CLASSES), CLASSES, *ROLES, name="small")


KINDS = ["clean", "mislabelled", "ood", "duplicate"]


@pytest.mark.parametrize("shape", [(3, 4, 3), (6,)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_but_the_canaries(kind, shape):
    before, after = dataset(shape), plant(dataset(shape), kind, 10)
    assert len(after.canaries) == after.is_canary.sum() == 10
    assert after.canary_kind == kind
    assert np.isin(after.canaries, before.pool).all()
    others = np.setdiff1d(np.arange(N), after.canaries)
    assert (after.examples.x[others] == before.examples.x[others]).all()
    assert (after.examples.y[others] == before.examples.y[others]).all()
    assert (after.is_ordinary.sum(), len(after.twins)) == ((20, 10) if kind == "duplicate" else (30, 0))
    assert not (after.is_ordinary & after.is_canary).any()


def test_clean_canaries_are_as_they_were():
    assert plant(dataset(), "clean", 10).examples.fingerprint == dataset().examples.fingerprint


def test_mislabelled_canaries_have_their_inputs_and_any_other_label():
    before, after = dataset(), plant(dataset(), "mislabelled", 20)
    rows = after.canaries
    assert (after.examples.x[rows] == before.examples.x[rows]).all()
    shift = (after.examples.y[rows] - before.examples.y[rows]) % CLASSES
    assert set(shift) <= {1, 2, 3, 4}
    assert len(set(shift)) >= 3


@pytest.mark.parametrize("shape", [(3, 4, 3), (6,)])
def test_ood_canaries_have_their_own_values_in_another_order_each(shape):
    before, after = dataset(shape), plant(dataset(shape), "ood", 10)
    rows = after.canaries
    assert (after.examples.y[rows] == before.examples.y[rows]).all()
    places = (10, int(np.prod(shape[:2])), -1)
    old, new = before.examples.x[rows].reshape(places), after.examples.x[rows].reshape(places)
    for x, y in zip(old, new, strict=True):
        assert sorted(map(tuple, x)) == sorted(map(tuple, y)), "a pixel's channels stay together"
    assert (old != new).any(axis=(1, 2)).all()
    moved = np.tile(np.arange(places[1]), (N, 1)).reshape(N, *shape[:2], *(1 for _ in shape[2:])).astype(np.uint8)
    traced = plant(replace(dataset(shape), examples=Examples(moved, before.examples.y)), "ood", 10)
    assert len({row.tobytes() for row in traced.examples.x[rows]}) > 5, "every canary in an order of its own"


def test_duplicates_are_mislabelled_copies_of_twins_that_stay_as_they_are():
    before, after = dataset(), plant(dataset(), "duplicate", 10)
    assert (after.examples.x[after.canaries] == before.examples.x[after.twins]).all()
    assert (after.examples.y[after.canaries] != before.examples.y[after.twins]).all()
    assert (after.examples.y[after.twins] == before.examples.y[after.twins]).all()


@given(st.integers(1, 19), st.integers(1, 19))
def test_fewer_canaries_are_among_more_and_kinds_choose_the_same(few, more):
    few, more = sorted((few, more))
    some, all_ = plant(dataset(), "mislabelled", few), plant(dataset(), "mislabelled", more)
    assert (all_.canaries[:few] == some.canaries).all()
    assert (all_.examples.y[some.canaries] == some.examples.y[some.canaries]).all()
    assert (plant(dataset(), "ood", few).canaries == some.canaries).all()


def test_the_same_canaries_at_every_call_and_another_fingerprint_for_each_choice():
    prints = [plant(dataset(), kind, count).fingerprint for kind in KINDS for count in (5, 10)]
    assert prints == [plant(dataset(), kind, count).fingerprint for kind in KINDS for count in (5, 10)]
    assert len({dataset().fingerprint, *prints}) == 9


@pytest.mark.parametrize(("kind", "most"), [("clean", 20), ("duplicate", 10)])
def test_half_of_the_pool_stays_ordinary(kind, most):
    assert len(plant(dataset(), kind, most).canaries) == most
    with pytest.raises(BadOption, match=rf"^small: canary_count={most + 1}, but a pool of 40 leaves room for {most}"):
        plant(dataset(), kind, most + 1)


@pytest.mark.parametrize(("canaries", "twins"), [([0], []), ([5, 5], []), ([5], [5]), ([5], [50])])
def test_canaries_and_twins_are_different_rows_of_the_pool(canaries, twins):
    with pytest.raises(DataError, match="different rows of the pool"):
        replace(dataset(), canaries=np.array(canaries), twins=np.array(twins, dtype=int))


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_option_plants_them(kind):
    task = resolve("task", f"digits:canaries={kind},canary_count=30")
    assert task.load().canary_kind == kind
    assert len(task.load().canaries) == 30
    assert len(resolve("task", "digits").load().canaries) == 0


def test_membership_of_canaries_is_drawn_as_of_any_other_example(tmp_path):
    from privbench.population.population import Population
    from privbench.store.store import Store

    task = resolve("task", "digits:canaries=duplicate,canary_count=100")
    with_them = Population(task, task.load(), resolve("defense", "ce"), 8, 0, "cpu", Store(tmp_path))
    plain = resolve("task", "digits")
    without = Population(plain, plain.load(), resolve("defense", "ce"), 8, 0, "cpu", Store(tmp_path))
    assert all((with_them.members(i) == without.members(i)).all() for i in range(8))


# A whole run: a memorising model gives its mislabelled canaries away, and the average hides it.


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    from privbench.executors.local import LocalProcesses
    from privbench.run import Grid, run
    from privbench.store.store import Store

    tasks = [resolve("task", f"digits:epochs=15,limit=400,canaries={k},canary_count=60") for k in KINDS]
    store = Store(tmp_path_factory.mktemp("store"))
    grid = Grid(tasks, [resolve("defense", "ce")], [Confidence()], models=4)
    out = tmp_path_factory.mktemp("out")
    return dict(zip(KINDS, run(grid, store, LocalProcesses(1), out=out), strict=True)), out


def test_canaries_are_counted_by_themselves(records):
    records, out = records
    for kind, record in records.items():
        assert (record.canaries.kind, record.canaries.count) == (kind, 60)
        assert record.canaries.tpr_at_fpr[0].members + record.canaries.tpr_at_fpr[0].nonmembers == 4 * 60
        assert record.metrics.auc.n == 4 * (340 - (120 if kind == "duplicate" else 60))
        with np.load(record.path(out).with_suffix(".scores.npz")) as raw:
            scores, member = raw["scores"], raw["member"]
        data = resolve("task", record.task.spec).load()
        apart = intervals.auc(scores[:, data.is_canary], member[:, data.is_canary])
        assert record.canaries.auc == apart


def test_mislabelled_ones_are_more_exposed_than_the_average_and_clean_ones_are_not(records):
    records, _ = records
    for kind in ("mislabelled", "duplicate"):
        assert records[kind].canaries.auc.low > records[kind].metrics.auc.high
    clean = records["clean"]
    assert clean.canaries.auc.low <= clean.metrics.auc.value <= clean.canaries.auc.high


def test_utility_is_that_of_ordinary_examples(records):
    records, _ = records
    assert records["mislabelled"].utility.nonmember_accuracy.value > 0.7, "wrong labels do not count"


def test_a_record_with_canaries_is_read_again(records):
    from privbench.records import record

    made, out = records
    assert {each.canaries.kind for each in record.load([out])} == set(KINDS)
    one = made["ood"]
    assert one.digest == one.compute_digest() != one.model_copy(update={"canaries": None}).compute_digest()
