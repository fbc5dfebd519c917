import functools
import hashlib

import numpy as np
import pytest
from privbench_attacks import small_nets
from privbench_attacks.loss_trajectory import LossTrajectory, chosen_shadows, distilled, plain_recipe
from privbench_attacks.small_nets import Known, log_odds

from privbench.api import Blueprint, Context, Examples
from privbench.errors import CellFailed
from privbench.learn import predict, train
from privbench.testing import parametrize_with_checks, synthetic_evidence, toy_task


@parametrize_with_checks(["attack:loss-trajectory:passes=5,checkpoints=2"])
def test_contract(check):
    check()


@functools.lru_cache
def toy():
    task = toy_task(epochs=6)
    data = task.load()
    build = functools.partial(task.network, data.shape, data.classes)
    return Blueprint(task.name, task.recipe, data.shape, data.classes, build=build), data


def test_a_trajectory_ends_where_training_does():
    import torch

    task, data = toy()
    reference, pool = data.role("reference"), data.role("pool")
    answers = np.random.default_rng(0).normal(0, 3, (len(reference), 3)).astype(np.float32)
    ctx = Context(seed=3)
    found = distilled(task, reference, answers, pool.x, recipe=task.recipe, checkpoints=3, ctx=ctx)
    assert found.shape == (len(pool), 3, 3)
    assert found.dtype == np.float32
    soft = torch.softmax(torch.tensor(answers).double(), dim=1)  # once: the loss takes logits of the student
    student = train(task, reference, ctx, targets=soft)
    assert np.array_equal(found[:, -1], predict(student, pool.x, device="cpu"))
    assert not np.array_equal(found[:, 0], found[:, -1])


def test_the_student_learns_what_the_target_answers():
    task, data = toy()
    reference = data.role("reference")
    answers = np.eye(3, dtype=np.float32)[(reference.y + 1) % 3] * 8  # a target with labels of its own
    recipe = plain_recipe(task.recipe, 60)
    found = distilled(task, reference, answers, reference.x, recipe=recipe, checkpoints=2, ctx=Context())
    assert (found[:, -1].argmax(axis=1) == (reference.y + 1) % 3).mean() > 0.9


def test_no_augmentation_and_as_many_epochs_as_are_asked_for():
    from dataclasses import replace

    recipe = replace(toy()[0].recipe, crop=2, flip=0.5, cutout=3, copies=2)
    plain = plain_recipe(recipe, None)
    assert (plain.crop, plain.flip, plain.cutout, plain.copies, plain.epochs) == (0, 0.0, 0, 0, 6)
    assert plain_recipe(recipe, 9).epochs == 9


def trajectories(seed, n=1500, columns=6):
    """Return trajectories whose own loss says nothing, but whose slope is steeper for members, and membership."""
    rng = np.random.default_rng(seed)
    member = rng.random(n) < 0.5
    slope = rng.normal(0, 1, n) + 1.5 * member
    steps = np.linspace(-1, 1, columns)
    return np.c_[slope[:, None] * steps + rng.normal(0, 0.3, (n, columns)), rng.normal(0, 1, n)], member


def accuracy(order):
    (known, truth), (asked, member) = trajectories(0), trajectories(1)
    nobody = np.zeros(len(known), dtype=int)
    rng = np.random.default_rng(2)
    learnt = Known(known[:, order], nobody, truth)
    scores = log_odds(learnt, asked[:, order], nobody, rng=rng, hidden=(32,), epochs=10)
    return ((scores[member] >= 0).mean() + (scores[~member] < 0).mean()) / 2


def test_columns_in_another_order_change_nothing_but_chance():
    order = np.random.default_rng(5).permutation(7)
    # Slopes 1.5 sd apart: the best rule is right Phi(0.75) = 77 % of the time; the own loss alone, half of it.
    assert accuracy(np.arange(7)) == pytest.approx(0.77, abs=0.04)
    assert accuracy(order) == pytest.approx(accuracy(np.arange(7)), abs=0.03)


def test_shadows_are_pairs_and_the_same_in_any_order():
    rng = np.random.default_rng(0)
    half = rng.random((3, 40)) < 0.5
    member = np.stack([half, ~half], axis=1).reshape(6, 40)
    answers = list(rng.normal(size=(6, 10, 3)).astype(np.float32))
    chosen = chosen_shadows(answers, member, 4)
    assert len(set(chosen)) == 4
    assert all((member[a] != member[b]).all() for a, b in (chosen[:2], chosen[2:]))
    order = rng.permutation(6)
    again = chosen_shadows([answers[at] for at in order], member[order], 4)
    assert [order[at] for at in again] == chosen
    assert len(chosen_shadows(answers, member, 9)) == 6


def test_what_was_distilled_is_kept_by_what_was_answered(monkeypatch):
    attack = LossTrajectory(passes=1)
    evidence, _ = synthetic_evidence(attack.needs, leak=1.0, models=6, examples=60)
    asked = []

    def kept(self, name, examples, options, make, **_):
        asked.append((name, examples.fingerprint, dict(options)))
        return make(self)

    monkeypatch.setattr(Context, "kept", kept)
    attack.score(evidence)
    names, examples, options = zip(*asked, strict=True)
    reference = evidence.reference
    assert set(names) == {"loss-trajectory"}
    assert set(examples) == {Examples(reference.x, reference.labels).fingerprint}
    digests = [each["answers"] for each in options]
    assert digests[0] == hashlib.sha256(np.ascontiguousarray(reference.logits[:, 0]).tobytes()).hexdigest()
    of_shadows = {
        hashlib.sha256(np.ascontiguousarray(each[:, 0]).tobytes()).hexdigest() for each in reference.shadow_logits
    }
    assert len(set(digests)) == 3
    assert set(digests[1:]) <= of_shadows


@pytest.mark.parametrize("scale", ["logit", "loss"])
def test_own_loss_is_the_last_column(scale, monkeypatch):
    attack = LossTrajectory(scale=scale, checkpoints=2)
    evidence, _ = synthetic_evidence(attack.needs, leak=1.0, models=6, examples=60)
    seen = []
    monkeypatch.setattr(small_nets, "log_odds", lambda _known, target, *_, **__: seen.append(target))
    attack.score(evidence)
    (rows,) = seen
    assert rows.shape == (60, 3)
    p = np.exp(evidence.logits[:, 0].astype(float))
    p = p[np.arange(60), evidence.labels] / p.sum(axis=1)
    assert np.allclose(rows[:, -1], np.log(p / (1 - p)) if scale == "logit" else np.log(p))


def test_without_shadows_it_says_so():
    attack = LossTrajectory()
    with pytest.raises(CellFailed, match="at least 4"):
        attack.score(synthetic_evidence(attack.needs, leak=1.0, models=2)[0])
