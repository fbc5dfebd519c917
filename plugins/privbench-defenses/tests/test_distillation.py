import numpy as np
import pytest
import torch
from privbench_defenses.distillation import Distillation, distilled_loss, loaded, teacher
from torch.nn import functional

from privbench.api import Blueprint, Context
from privbench.learn import predict, train
from privbench.testing import toy_task

LABELS = torch.tensor([0, 3, 1, 1, 2])


def logits(seed, dtype=torch.float64):
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def toy():
    """A small task, its members and a context."""
    task = toy_task(epochs=10)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, lambda: task.network(shape, classes))
    return blueprint, data.role("pool"), Context(seed=1)


def weights(model):
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


def test_by_hand():
    student, answers, temperature, weight = logits(0), logits(1), 3.0, 0.4
    p, q = (np.exp(each.numpy() / temperature) for each in (answers, student))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    divergence = (p * np.log(p / q)).sum() / 5
    ce = functional.cross_entropy(student, LABELS).item()
    got = distilled_loss(student, LABELS, answers, temperature, weight).item()
    assert got == pytest.approx(0.6 * ce + 0.4 * 9 * divergence, rel=1e-10)
    per_element = distilled_loss(student, LABELS, answers, temperature, weight, mean="element").item()
    assert per_element == pytest.approx(0.6 * ce + 0.4 * 9 * divergence / 4, rel=1e-10)


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it():
    student = logits(0).requires_grad_()
    loss = distilled_loss(student, LABELS, logits(0), 10.0, 1.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert abs(loss.item()) < 1e-12
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
    assert distilled_loss(logits(2), LABELS, logits(0), 10.0, 1.0) > 0


def test_at_high_temperature_it_matches_logits():
    """Hinton et al., section 2.1: the limit is half the mean square of the difference of centred logits."""
    difference = logits(0) - logits(1)
    want = (difference - difference.mean(dim=1, keepdim=True)).square().mean() / 2
    torch.testing.assert_close(distilled_loss(logits(0), LABELS, logits(1), 1e4, 1.0), want, rtol=1e-3, atol=0)


def test_without_weight_it_is_plain_training(toy):
    task, examples, ctx = toy
    plain = train(task, examples, ctx.stage("student"))
    assert weights(Distillation(weight=0.0).fit(task, examples, ctx).model) == weights(plain)


def test_the_teacher_is_kept_whole_and_shared(toy):
    task, examples, ctx = toy
    held = {}

    def keep(name, key, make, inner):
        held.setdefault((name, str(key)), None)
        if held[name, str(key)] is None:
            held[name, str(key)] = make(inner)
        return held[name, str(key)]

    ctx = Context(seed=1, keep=keep)
    cool, warm = (Distillation(temperature=t).fit(task, examples, ctx) for t in (2.0, 20.0))
    assert len(held) == 1
    assert weights(cool.model) != weights(warm.model)
    assert cool.facts["teacher_train_loss"] == warm.facts["teacher_train_loss"]
    (arrays,) = held.values()
    plain = train(task, examples, Context(seed=1, purpose=("kept", "teacher")))
    answers = predict(loaded(task, arrays, ctx), examples.x, device="cpu")
    assert (answers == predict(plain, examples.x, device="cpu")).all()
    assert arrays.keys() == teacher(task, examples, ctx).keys()


def test_the_student_learns_from_the_teacher():
    """What a teacher of other labels says, and nothing else says, is what its student says."""
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    wise, labels = torch.stack([x[:, 0], -x[:, 0], x[:, 1]], dim=1), torch.zeros(64).long()
    student = torch.nn.Linear(5, 3)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.5)
    for _ in range(300):
        optimiser.zero_grad()
        distilled_loss(student(x), labels, wise, 10.0, 1.0).backward()
        optimiser.step()
    assert (student(x).argmax(dim=1) == wise.argmax(dim=1)).float().mean() > 0.95


def test_the_authors_of_the_baseline_take_the_mean_of_elements():
    assert Distillation(**Distillation.presets["relaxloss"]) == Distillation(mean="element")
