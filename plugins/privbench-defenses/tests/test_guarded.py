import numpy as np
import pytest
import torch
from privbench_defenses.guarded import Guarded, OwnAttack, attack_step, sorted_confidences, train_attack
from torch import nn

from privbench.api import Context
from privbench.errors import Diverged
from privbench.learn import predict
from privbench.testing import one_by_one, taped

CLASSES = 5
STEPS = (150, 20)


class Table(nn.Module):
    """Answers a table's row with the row itself: its logits are what the test says."""

    def forward(self, x):
        return x * 1.0


def guarded(*, budget=2.0, key=7, middle=0.7, slope=8.0):
    """A guard against an attack that says 1/2 where the largest confidence is `middle`."""
    made = Guarded(Table(), CLASSES, hidden=(), budget=budget, steps=STEPS)
    with torch.no_grad():
        made.attack.layers[0].weight.copy_(torch.tensor([[slope, *[0.0] * (CLASSES - 1)]]))
        made.attack.layers[0].bias.copy_(torch.tensor([-slope * middle]))
    made.key.copy_(torch.tensor(key))
    return made.requires_grad_(requires_grad=False).eval()


def rows(n=300, scale=4.0, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal((n, CLASSES))).astype(np.float32)


def confidences(logits):
    return torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()


def test_every_label_is_the_models_own():
    x = np.concatenate([rows(), rows(scale=60.0, seed=1), rows(scale=1e-3, seed=2), np.zeros((3, CLASSES), np.float32)])
    x[0, :2] = x[0].max() + 1  # tied
    x[1, 3] = np.nextafter(x[1].max(), np.float32(99))  # nearly so: its logarithm of a probability is the same number
    answers = predict(guarded(), x, device="cpu")
    assert answers.dtype == np.float32
    assert np.isfinite(answers).all()
    np.testing.assert_array_equal(answers.argmax(axis=1), x.argmax(axis=1))
    np.testing.assert_allclose(np.exp(answers.astype(np.float64)).sum(axis=1), 1, rtol=1e-5)


def test_on_a_card_its_walks_say_why_they_are_not_recorded():
    answers = predict(guarded(), rows(), device="cpu")
    with taped() as tape:
        assert (predict(guarded(), rows(), device="cpu") == answers).all()
    assert "memguard's walks" in tape.refused[0]
    assert "which queries have arrived" in tape.refused[0]


def test_answers_are_where_the_attack_knows_nothing():
    x = rows()
    largest = confidences(predict(guarded(), x, device="cpu")).max(axis=1)
    assert np.abs(largest - 0.7).max() < 0.08
    assert np.abs(confidences(x).max(axis=1) - 0.7).max() > 0.2


def test_without_a_budget_the_confidences_are_the_models_own():
    x = rows()
    answers = predict(guarded(budget=0.0), x, device="cpu")
    np.testing.assert_allclose(confidences(answers), confidences(x), atol=1e-6)


@pytest.mark.parametrize("budget", [0.1, 0.3])
def test_noise_is_added_with_the_probability_that_spends_the_budget(budget):
    x = rows(n=800)
    moved = np.abs(confidences(predict(guarded(budget=budget), x, device="cpu")) - confidences(x)).sum(axis=1)
    whole = np.abs(confidences(predict(guarded(), x, device="cpu")) - confidences(x)).sum(axis=1)
    taken = moved > 1e-4  # but for those that move by less
    np.testing.assert_allclose(moved[taken], whole[taken], atol=1e-6)
    wanted = np.minimum(budget / np.maximum(whole, 1e-9), 1)
    spread = np.sqrt((wanted * (1 - wanted)).sum())
    assert abs(taken.sum() - wanted.sum()) < 4 * spread
    assert moved.mean() <= budget + 4 * spread / len(x)


def test_the_same_answer_to_the_same_query_in_any_batch():
    x, model = rows(60), guarded(budget=0.3)
    together = predict(model, x, device="cpu")
    np.testing.assert_array_equal(predict(model, x, device="cpu"), together)
    order = np.random.default_rng(3).permutation(len(x))
    for batch in (1, 7, 60):
        np.testing.assert_allclose(predict(model, x[order], device="cpu", batch=batch), together[order], atol=1e-6)
    other = predict(guarded(budget=0.3, key=8), x, device="cpu")
    changed = (np.abs(other - together) > 1e-4).any(axis=1)
    assert 0.05 < changed.mean() < 0.95  # another release draws anew for each input


def test_who_holds_the_model_has_the_gradient_behind_the_guard():
    x = torch.from_numpy(rows(4)).requires_grad_()
    (gradient,) = torch.autograd.grad(guarded()(x)[:, 2].sum(), x)
    assert torch.equal(gradient, torch.eye(CLASSES)[2].expand(4, -1))


def test_the_attack_learns_what_tells_members():
    members, others = rows(400, scale=8.0), rows(40, scale=1.0, seed=1)  # ten times as many
    with Context(0).seeded("attack"):
        attack = OwnAttack(CLASSES, (16,))
    train_attack(attack, members, others, Context(0), steps=150, lr=1e-2)
    with torch.no_grad():
        of_members, of_others = (attack(sorted_confidences(torch.from_numpy(side))) for side in (members, others))
    assert (of_members > 0).double().mean() > 0.75
    assert (of_others < 0).double().mean() > 0.75
    assert not any(parameter.requires_grad for parameter in attack.parameters())


def test_an_attack_that_diverges_says_so():
    with pytest.raises(Diverged, match="attack_lr"):
        train_attack(OwnAttack(CLASSES, ()), rows() * np.float32(np.nan), rows(), Context(0), steps=3, lr=1e-3)


def test_the_attack_trains_where_its_batch_is():
    attack = OwnAttack(CLASSES, (4,)).to("meta")
    optimiser = torch.optim.Adam(attack.parameters())
    attack_step(attack, optimiser, torch.rand(6, CLASSES, device="meta"), torch.rand(6, device="meta"))
    assert all(parameter.grad.is_meta for parameter in attack.parameters())


def test_replayed_steps_of_the_attack_equal_steps(device):
    def trained():
        ctx = Context(0, device=device)
        with ctx.seeded("attack"):
            attack = OwnAttack(CLASSES, (16,)).to(device)
        train_attack(attack, rows(scale=8.0), rows(40, scale=1.0, seed=1), ctx, steps=150, lr=1e-2)
        return [parameter.tolist() for parameter in attack.parameters()]

    with one_by_one():
        plain = trained()
    with taped(device) as tape:
        assert trained() == plain
    assert tape.replayed > 0
    assert not tape.refused
