"""PATE: the limits of its votes, how often it answers, and what one private example can change."""

import dataclasses
import math

import numpy as np
import pytest
from privbench_dp import pate as module
from privbench_dp.pate import NO_ANSWER, Pate, confident_gnmax, count, lnmax, parts, vote
from scipy import stats

from privbench.api import Blueprint, Context, Examples
from privbench.errors import BadOption, DataError, Diverged
from privbench.testing import build, parametrize_with_checks, toy_task


@parametrize_with_checks(["defense:pate:teachers=3", "defense:pate:mechanism=lnmax"])
def test_contract(check):
    check()


@pytest.fixture(scope="module")
def toy():
    task = toy_task(noise=40)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint("toy", task.recipe, shape, classes, build=lambda: task.network(shape, classes))
    return blueprint, data.role("pool")[:24], data.role("validation")


def rng(seed=0):
    return np.random.default_rng(seed)


def test_unanimous_votes_without_noise_give_the_truth():
    truth = rng().integers(0, 10, 300)
    counts = count(np.tile(truth, (25, 1)), 10)
    assert (counts.max(axis=1) == 25).all()
    assert (confident_gnmax(counts, rng(), threshold=25, sigma1=0, sigma2=0) == truth).all()
    assert (confident_gnmax(counts, rng(), threshold=20, sigma1=1e-9, sigma2=1e-9) == truth).all()
    assert (lnmax(counts, 1e-9, rng()) == truth).all()


def test_votes_are_counted():
    votes = np.array([[0, 2], [1, 2], [0, 2]])
    assert count(votes, 3).tolist() == [[2, 1, 0], [0, 0, 3]]


@pytest.mark.parametrize("most", [10, 20, 35])
def test_queries_are_answered_as_often_as_the_normal_distribution_says(most):
    n, threshold, sigma1 = 20_000, 20.0, 12.0
    counts = np.tile([most, 50 - most, 0], (n, 1)) if most >= 25 else np.tile([most, most - 5, most - 8], (n, 1))
    answered = (confident_gnmax(counts, rng(1), threshold=threshold, sigma1=sigma1, sigma2=4) != NO_ANSWER).mean()
    expected = stats.norm.cdf((most - threshold) / sigma1)
    assert abs(answered - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_gaussian_noise_turns_an_answer_as_often_as_the_normal_distribution_says():
    n, gap, sigma2 = 20_000, 6, 5.0
    counts = np.tile([20, 20 - gap], (n, 1))
    right = (confident_gnmax(counts, rng(2), threshold=-1e9, sigma1=0, sigma2=sigma2) == 0).mean()
    expected = stats.norm.cdf(gap / (sigma2 * math.sqrt(2)))
    assert abs(right - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_laplace_noise_turns_an_answer_as_often_as_the_laplace_distribution_says():
    n, gap, scale = 20_000, 6, 5.0
    wrong = (lnmax(np.tile([20, 20 - gap], (n, 1)), scale, rng(3)) == 1).mean()
    t = gap / scale
    expected = math.exp(-t) * (2 + t) / 4  # of the difference of two Laplace variables
    assert abs(wrong - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_teachers_stop_after_the_answers_that_are_paid_for():
    counts = np.tile([10, 0], (30, 1))
    answers = confident_gnmax(counts, rng(4), threshold=10, sigma1=3, sigma2=0, most=5)
    uncapped = confident_gnmax(counts, rng(4), threshold=10, sigma1=3, sigma2=0)
    assert (answers != NO_ANSWER).sum() == 5 < (uncapped != NO_ANSWER).sum()
    first = np.flatnonzero(uncapped != NO_ANSWER)[:5]
    assert np.flatnonzero(answers != NO_ANSWER).tolist() == first.tolist()


def test_parts_are_disjoint_and_cover_the_members():
    rows = parts(103, 10, rng())
    assert sorted(np.concatenate(rows).tolist()) == list(range(103))
    assert {len(part) for part in rows} == {10, 11}


@pytest.mark.parametrize("row", [0, 7, 23])
def test_another_example_in_one_place_changes_one_teacher_and_two_counts_at_most(toy, row):
    task, members, public = toy
    x, y = members.x.copy(), members.y.copy()
    x[row], y[row] = 255 - x[row], (y[row] + 1) % task.classes
    ctx = Context(seed=3)
    before = vote(task, members, public, ctx, teachers=12)
    after = vote(task, Examples(x, y), public, ctx, teachers=12)
    changed = np.flatnonzero((before != after).any(axis=1))
    owner = next(k for k, part in enumerate(parts(24, 12, ctx.rng("parts"))) if row in part)
    assert set(changed.tolist()) <= {owner}
    assert len(changed)  # one of two examples of a teacher, inverted, is not overlooked
    moved = np.abs(count(before, task.classes) - count(after, task.classes))
    assert moved.sum(axis=1).max() <= 2
    assert moved.max() <= 1


def test_the_students_learn_answered_inputs_with_the_teachers_labels_alone(toy, monkeypatch):
    task, members, public = toy
    wrong = Examples(public.x, (public.y + 1) % task.classes)
    taught = []
    from privbench import learn

    def spy(*args, **options):
        taught.append(args[1])
        return train(*args, **options)

    train = learn.train
    monkeypatch.setattr(learn, "train", spy)
    defense = build(Pate, {"teachers": 4, "threshold": 3, "sigma1": 1.0, "sigma2": 0.1})
    release = defense.fit(task, members, Context(seed=1, validation=public))
    student = taught[-1]
    assert len(student) == release.facts["answered"] < release.facts["queries"] == len(public)
    inputs = {each.tobytes() for each in public.x}
    assert {each.tobytes() for each in student.x} <= inputs
    again = defense.fit(task, members, Context(seed=1, validation=wrong))
    same = zip(release.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert all(one.equal(other) for one, other in same)
    assert again.facts["answers_right"] < release.facts["answers_right"]


def test_facts_say_what_was_promised_and_what_was_spent(toy):
    task, members, public = toy
    defense = build(Pate, {"teachers": 4, "threshold": 2, "sigma1": 1, "sigma2": 1, "answers": 8})
    facts = defense.fit(task, members, Context(seed=1, validation=public)).facts
    from privbench_dp.pate_accounting import gnmax_epsilon

    assert (facts["delta"], facts["replace_one"]) == (1e-5, 1)
    assert facts["epsilon"] == gnmax_epsilon(len(public), 8, sigma1=1, sigma2=1, delta=1e-5)
    assert facts["answered"] <= 8
    assert facts["epsilon_answered"] <= facts["epsilon"]


def test_noise_and_the_number_of_teachers_follow_the_number_of_members(toy, monkeypatch):
    task, _, public = toy

    def asked(defense, members):
        """How many teachers vote on behalf of so many members, and the noise on what they say."""
        seen = {}

        def votes(*_, teachers, share):
            seen["teachers"] = teachers
            return np.zeros((teachers, len(public)), np.int64)

        def no_answer(counts, _rng, **noise):
            seen.update(noise)
            return np.full(len(counts), NO_ANSWER)

        monkeypatch.setattr(module, "vote", votes)
        monkeypatch.setattr(module, "confident_gnmax", no_answer)
        with pytest.raises(Diverged, match="answered none"):
            defense.fit(task, Examples(np.zeros((members, 1)), np.zeros(members, np.int64)), Context(validation=public))
        return seen

    small, large = asked(Pate(teachers=10), 200), asked(Pate(teachers=100), 200)
    for noise in ("threshold", "sigma1", "sigma2"):
        assert large[noise] == 10 * small[noise]
    assert [asked(Pate(), members)["teachers"] for members in (649, 25_000, 5)] == [50, 250, 1]


def test_interrupted_work_is_kept_in_groups_that_one_example_does_not_spoil(toy):
    task, members, public = toy
    stored = {}

    def keep(name, key, make, inner):
        place = (name, str(key))
        if place not in stored:
            stored[place] = make(inner)
        return stored[place]

    ctx = Context(seed=1, keep=keep)
    first = vote(task, members, public, ctx, teachers=24)
    assert len(stored) == math.ceil(24 / module.GROUP)
    assert (vote(task, members, public, ctx, teachers=24) == first).all()
    assert len(stored) == 3
    x = members.x.copy()
    x[0] = 0
    vote(task, dataclasses.replace(members, x=x), public, ctx, teachers=24)
    assert len(stored) == 4


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"teachers": 25}, BadOption, "25 teachers share 24 members"),
        ({"teachers": 4, "threshold": 1e6}, Diverged, "answered none of 12 public queries"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(toy, options, error, says):
    task, members, public = toy
    with pytest.raises(error, match=says) as caught:
        build(Pate, options).fit(task, members, Context(validation=public))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("public", [None, Examples(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64))])
def test_without_public_inputs_there_is_nothing_to_label(toy, public):
    task, members, _ = toy
    with pytest.raises(DataError, match="no validation examples"):
        Pate().fit(task, members, Context(validation=public))


@pytest.mark.parametrize(
    "options", [{"gamma": 0.1}, {"mechanism": "lnmax", "sigma1": 1.0}, {"mechanism": "lnmax", "threshold": 1.0}]
)
def test_an_option_of_the_other_mechanism_is_refused(options):
    with pytest.raises(BadOption, match="leave it out"):
        build(Pate, options)
