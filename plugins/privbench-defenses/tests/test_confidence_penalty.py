import math

import pytest
import torch
from privbench_defenses.confidence_penalty import penalised_loss
from torch.nn import functional

LABELS = torch.tensor([0, 3, 1])


def logits(seed=0):
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand():
    z = logits()
    p = z.exp() / z.exp().sum(dim=1, keepdim=True)
    want = sum(-math.log(p[i, y]) - 0.3 * -sum(float(q) * math.log(q) for q in p[i]) for i, y in enumerate(LABELS)) / 3
    assert float(penalised_loss(z, LABELS, 0.3)) == pytest.approx(want, rel=1e-12)


def test_without_weight_it_is_cross_entropy():
    assert penalised_loss(logits().float(), LABELS, 0.0) == functional.cross_entropy(logits().float(), LABELS)


def test_it_equals_a_divergence_from_uniform():
    """CE - w H(p) = CE + w (KL(p || uniform) - log C): the paper's section 3.2."""
    z, classes = logits(), 4
    log_p = torch.log_softmax(z, dim=1)
    divergence = (log_p.exp() * (log_p + math.log(classes))).sum(dim=1).mean()
    want = functional.cross_entropy(z, LABELS) + 0.5 * (divergence - math.log(classes))
    torch.testing.assert_close(penalised_loss(z, LABELS, 0.5), want)


def test_confident_answers_stay_finite():
    z = torch.tensor([[1e4, 0.0, -1e4, 0.0]], requires_grad=True)
    penalised_loss(z, torch.tensor([0]), 0.1).backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("odds", [-3.0, 0.0, 2.0, 12.0])
def test_its_derivative_for_two_classes(odds):
    """With odds z and p = sigmoid(z) it is -(1 - p) + w z p (1 - p): confidence stops paying where w z p = 1."""
    weight, z = 0.1, torch.tensor([[odds, 0.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(penalised_loss(z, torch.tensor([0]), weight), z)
    p = 1 / (1 + math.exp(-odds))
    assert gradient[0, 0].item() == pytest.approx((1 - p) * (weight * odds * p - 1), rel=1e-9)
