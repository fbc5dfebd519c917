import numpy as np
import pytest
import torch
from torch.nn import functional

from privbench.api import Blueprint, Context
from privbench.builtin.defenses.relaxloss import RelaxLoss, relax_loss
from privbench.builtin.models import build as build_model
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption
from privbench.learn.training import train
from privbench.options.fields import build

HIGH, LOW = 100.0, 0.0  # levels that every loss is below, and above


def batch(n=12, classes=5, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(classes, (n,), generator=generator)


def gradient(objective, logits):
    return torch.autograd.grad(objective, logits)[0]


def slowly(logits, labels, *, relaxed, alpha, upper, variant):
    """RelaxLoss (Chen, Yu & Fritz 2022), example by example, on plain numbers."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    n, classes = p.shape
    losses = [-np.log(p[i, labels[i]]) for i in range(n)]
    mean = sum(losses) / n
    if relaxed:
        return abs(mean - alpha)
    if mean > alpha:
        return mean
    total = 0.0
    for i in range(n):
        c = min(p[i, labels[i]], upper)
        soft = -sum((c if k == labels[i] else (1 - c) / (classes - 1)) * np.log(p[i, k]) for k in range(classes))
        if variant == "official_cifar":
            total += (p[i].argmax() != labels[i]) * soft - losses[i]
        else:
            total += soft
    return total / n


@pytest.mark.parametrize("variant", ["official_cifar", "official_nonimage"])
@pytest.mark.parametrize("upper", [0.3, 1.0])
@pytest.mark.parametrize("alpha", [0.5, HIGH])
@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_an_independent_reading_whether_it_looks_or_not(variant, upper, alpha, relaxed, seed):
    logits, labels = batch(seed=seed)
    settings = {"relaxed": relaxed, "alpha": alpha, "upper": upper, "variant": variant}
    want = slowly(logits.detach().numpy(), labels.numpy(), **settings)
    values = [relax_loss(logits, labels, **settings, look=look) for look in (None, True, False)]
    assert [value.item() for value in values] == [pytest.approx(want, rel=1e-9)] * 3
    first, *others = (gradient(value, logits) for value in values)
    for other in others:
        torch.testing.assert_close(other, first)


@pytest.mark.parametrize(
    ("detach_targets", "expected"),
    [(True, (0.000, 0.118, -0.032, -0.087)), (False, (-0.459, 0.423, 0.081, -0.045))],
)
def test_soft_gradient_has_the_values_of_methods(detach_targets, expected):
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    objective = relax_loss(
        logits,
        torch.tensor([0]),
        relaxed=False,
        alpha=HIGH,
        variant="official_nonimage",
        detach_targets=detach_targets,
    )
    np.testing.assert_allclose(gradient(objective, logits)[0], expected, atol=6e-4)


def test_constant_targets_leave_the_labels_logit_alone():
    logits, labels = batch()
    objective = relax_loss(logits, labels, relaxed=False, alpha=HIGH, variant="official_nonimage")
    slope = gradient(objective, logits)
    assert slope[torch.arange(len(labels)), labels].abs().max() < 1e-16
    assert slope.abs().max() > 1e-3


def test_correct_examples_are_pushed_up_the_cross_entropy_by_the_image_trainer():
    logits = torch.tensor([[3.0, 0.0, -1.0], [0.0, 2.0, 0.5]], requires_grad=True)
    labels = torch.tensor([0, 1])
    objective = relax_loss(logits, labels, relaxed=False, alpha=HIGH)
    ascent = -functional.cross_entropy(logits, labels)
    torch.testing.assert_close(gradient(objective, logits), gradient(ascent, logits))


def test_the_gradient_turns_round_at_alpha():
    logits, labels = batch()
    level = functional.cross_entropy(logits, labels)
    plain = gradient(level, logits)
    for alpha, sign in ((level.item() - 1e-3, 1), (level.item() + 1e-3, -1)):
        objective = relax_loss(logits, labels, relaxed=True, alpha=alpha)
        torch.testing.assert_close(gradient(objective, logits), sign * plain)


def test_every_other_epoch_above_alpha_is_cross_entropy():
    logits, labels = batch()
    objective = relax_loss(logits, labels, relaxed=False, alpha=LOW)
    assert torch.equal(gradient(objective, logits), gradient(functional.cross_entropy(logits, labels), logits))


def problem(n=40):
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8), rng.integers(0, 4, n))
    recipe = Recipe(epochs=30, batch_size=16, lr=0.05)
    return Blueprint("t", recipe, (1, 8, 8), 4, lambda: build_model("mlp", (1, 8, 8), 4)), examples


def weights(model):
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


def test_alpha_zero_is_cross_entropy_bit_for_bit():
    task, examples = problem()
    relaxed = RelaxLoss(alpha=0.0, variant="official_nonimage").fit(task, examples, Context()).model
    assert weights(relaxed) == weights(train(task, examples, Context(), drop_last=True))


@pytest.mark.parametrize("variant", ["official_cifar", "official_nonimage"])
def test_the_loss_is_held_near_alpha(variant):
    task, examples = problem(48)
    release = RelaxLoss(alpha=0.4, variant=variant).fit(task, examples, Context())
    assert release.facts["train_loss"] == pytest.approx(0.4, abs=0.12)


def test_parity_decides_which_epochs_relax():
    task, examples = problem()
    even, odd = (RelaxLoss(alpha=0.5, relaxed_epochs=p).fit(task, examples, Context()).model for p in ("even", "odd"))
    assert weights(even) != weights(odd)


def test_presets():
    official = build(RelaxLoss, {"preset": "official", "alpha": "1"})
    assert (official.alpha, official.variant, official.detach_targets) == (1.0, "official_cifar", False)
    seed = build(RelaxLoss, {"preset": "seed_s0"})
    assert (seed.variant, seed.relaxed_epochs) == ("official_nonimage", "odd")


@pytest.mark.parametrize("options", [{"alpha": "-1"}, {"upper": "1.5"}, {"variant": "ascent"}])
def test_impossible_options_are_refused(options):
    with pytest.raises(BadOption):
        build(RelaxLoss, options)
