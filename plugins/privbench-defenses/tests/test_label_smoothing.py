import pytest
import torch
from privbench_defenses.label_smoothing import smoothed_loss
from torch.nn import functional


def target(labels, classes, amount):
    return (1 - amount) * functional.one_hot(labels, classes).double() + amount / classes


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_prediction_that_is_the_target_costs_the_targets_entropy_and_no_other_costs_less(classes, amount):
    labels = torch.arange(classes)
    t = target(labels, classes, amount)
    logits = t.log().requires_grad_()
    loss = smoothed_loss(logits, labels, amount)
    torch.testing.assert_close(loss, -(t * t.log()).sum(dim=1).mean())
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
    noise = torch.randn(classes, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert smoothed_loss(logits + noise, labels, amount) > loss


def test_by_hand():
    logits, labels = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64), torch.tensor([0])
    log_p = torch.log_softmax(logits, dim=1)[0]
    want = -(0.925 * log_p[0] + 0.025 * (log_p[1] + log_p[2] + log_p[3]))
    torch.testing.assert_close(smoothed_loss(logits, labels, 0.1), want)


def test_none_is_cross_entropy():
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 5
    assert smoothed_loss(logits, labels, 0.0) == functional.cross_entropy(logits, labels)
