import math

import numpy as np
import pytest
import torch
from privbench_defenses.inference_game import Game, InferenceAttack, answers_now, attack_gain, attack_step
from torch import nn
from torch.nn import functional

from privbench.api import Blueprint, Context, Examples, Recipe

CLASSES = 4


def answers(n=6, seed=0):
    return torch.randn(n, CLASSES, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def labels(n=6):
    return torch.arange(n) % CLASSES


def undecided():
    """An attack that says 1/2 to everything."""
    attack = InferenceAttack(CLASSES, 0.125)
    nn.init.zeros_(attack.combined[-1].weight)
    nn.init.zeros_(attack.combined[-1].bias)
    return attack


def test_layers_are_the_papers_at_full_width():
    sizes = [tuple(layer.weight.shape) for layer in InferenceAttack(100, 1.0).modules() if isinstance(layer, nn.Linear)]
    assert sizes == [
        *[(1024, 100), (512, 1024), (64, 512)],
        *[(128, 100), (64, 128)],
        *[(512, 128), (256, 512), (128, 256), (64, 128), (1, 64)],
    ]


def test_narrowest_layers_are_still_layers():
    assert InferenceAttack(CLASSES, 1e-6)(torch.rand(3, CLASSES), labels(3)).shape == (3,)


@pytest.mark.parametrize(("gain", "value"), [("mean", 0.0), ("log", math.log(0.5))])
def test_an_attack_that_says_one_half_gains_nothing_and_moves_nothing(gain, value):
    logits = answers()
    got = attack_gain(undecided(), logits, labels(), gain=gain)
    assert got.item() == pytest.approx(value, abs=1e-7)
    (gradient,) = torch.autograd.grad(got, logits)
    assert not gradient.any()


@pytest.mark.parametrize("gain", ["mean", "log"])
def test_gain_by_hand_and_its_gradient_reaches_the_model_alone(gain):
    attack, logits = InferenceAttack(CLASSES, 0.125), answers()
    got = attack_gain(attack, logits, labels(), gain=gain)
    h = torch.sigmoid(attack(functional.softmax(logits, dim=1), labels()))
    torch.testing.assert_close(got, h.mean() - 0.5 if gain == "mean" else h.log().mean())
    got.backward()
    assert logits.grad.any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in attack.parameters())


@pytest.mark.parametrize("gain", ["mean", "log"])
def test_the_attack_learns_to_tell_members(gain):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attack = InferenceAttack(CLASSES, 0.125)
    optimiser = torch.optim.Adam(attack.parameters(), lr=1e-2)
    sure, unsure = 9.0 * functional.one_hot(labels(32), CLASSES), torch.zeros(32, CLASSES)
    confidences = functional.softmax(torch.cat([sure, unsure]), dim=1)
    both, truth = torch.cat([labels(32)] * 2), torch.cat([torch.ones(32), torch.zeros(32)])
    for _ in range(60):
        attack_step(attack, optimiser, confidences, both, truth, gain=gain)
    h = attack(confidences, both).sigmoid()
    assert h[:32].min() > 0.8
    assert h[32:].max() < 0.2
    assert attack_gain(attack, 9.0 * functional.one_hot(labels(), CLASSES), labels(), gain="mean") > 0.3


def test_the_attack_sees_labels_too():
    attack = InferenceAttack(CLASSES, 0.125)
    p = torch.full((CLASSES, CLASSES), 1 / CLASSES)
    assert len(attack(p, labels(CLASSES)).unique()) == CLASSES


def test_models_are_asked_as_they_are_released_and_left_in_training():
    model = nn.Sequential(nn.Linear(3, CLASSES), nn.BatchNorm1d(CLASSES), nn.Dropout(0.5)).train()
    before = [buffer.clone() for buffer in model.buffers()]
    batch = torch.rand(5, 3)
    state = torch.get_rng_state()
    together = answers_now(model, batch)
    assert not together.requires_grad
    torch.testing.assert_close(together[:1], answers_now(model, batch[:1]))
    torch.testing.assert_close(together.sum(dim=1), torch.ones(5))
    assert model.training
    assert all(map(torch.equal, before, model.buffers()))
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_are_half_members_half_others_whatever_there_are_of_them():
    x = np.arange(50, dtype=np.float32)[:, None]
    y = np.arange(50, dtype=np.int64) % CLASSES
    sides = Examples(x[:43], y[:43]), Examples(x[43:], y[43:])
    task = Blueprint("some", Recipe(batch_size=20), (1,), CLASSES, lambda: nn.Linear(1, CLASSES))
    game = Game(task, *sides, Context(3), width=0.125, lr=1e-3, gain="mean")
    seen, asked = [], []

    class Model(nn.Module):
        def forward(self, batch):
            seen.append(batch[:, 0])
            return torch.zeros(len(batch), CLASSES)

    game.attack.register_forward_pre_hook(lambda _module, given: asked.append(given[1]))
    for members, others in zip(*game.draw(14, 5), strict=True):  # more than are drawn at once
        for rows in zip(members, others, strict=True):
            game.attack_learns(Model(), rows)
    drawn = torch.stack(seen)
    assert drawn.shape == (70, 20)
    assert set(drawn[:, :10].unique().tolist()) == set(range(43))
    assert set(drawn[:, 10:].unique().tolist()) == set(range(43, 50))
    assert torch.equal(torch.stack(asked), drawn.long() % CLASSES)
    assert torch.equal(game.truth, torch.tensor([1.0] * 10 + [0.0] * 10))


def test_every_step_stays_on_its_device():
    attack, model = InferenceAttack(CLASSES, 0.125).to("meta"), nn.Linear(3, CLASSES, device="meta")
    optimiser = torch.optim.Adam(attack.parameters())
    batch, y = torch.rand(6, 3, device="meta"), labels().to("meta")
    attack_step(attack, optimiser, answers_now(model, batch), y, torch.rand(6, device="meta"), gain="mean")
    for gain in ("mean", "log"):
        (functional.cross_entropy(model(batch), y) + attack_gain(attack, model(batch), y, gain=gain)).backward()
    assert all(parameter.grad.is_meta for parameter in (*attack.parameters(), *model.parameters()))
