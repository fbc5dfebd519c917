import math

import pytest
import torch
from privbench_defenses.crl import center_loss, confidences, relaxed_loss, shrink
from torch.nn import functional


def batch(scale=1.0, n=12, classes=5, width=6):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    logits = (logits + scale * functional.one_hot(labels, classes)).requires_grad_()
    features = torch.randn(n, width, generator=generator, dtype=torch.float64, requires_grad=True)
    centers = torch.randn(n, width, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, labels, features, centers


def relax_loss(z, y, *, relaxed, alpha, upper, detach):
    """RelaxLoss, non-image form, written out from the paper's formulas, an example at a time."""
    classes, losses, flats = z.shape[1], [], []
    for row, label in zip(z, y, strict=True):
        p = row.exp() / row.exp().sum()
        c = torch.clamp(p[label], max=upper)
        c = c.detach() if detach else c
        losses.append(-torch.log(p[label]))
        flats.append(sum(-(c if k == label else (1 - c) / (classes - 1)) * torch.log(p[k]) for k in range(classes)))
    mean = sum(losses) / len(losses)
    if relaxed:
        return abs(mean - alpha)
    return mean if mean > alpha else sum(flats) / len(flats)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("upper", [1.0, 0.3])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 4.0])  # the loss of the batch is between the last two
@pytest.mark.parametrize("relaxed", [True, False])
def test_without_shrinking_it_is_relaxloss_with_its_gradient(relaxed, alpha, upper, detach):
    z, y, _, _ = batch()
    confidence = confidences(z, y, upper, detach=detach)
    got = relaxed_loss(z, y, confidence, relaxed=relaxed, alpha=alpha, t=0.0)
    want = relax_loss(z, y, relaxed=relaxed, alpha=alpha, upper=upper, detach=detach)
    torch.testing.assert_close(got, want)
    gradients = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in (got, want)]
    torch.testing.assert_close(*gradients)


def test_confidence_is_that_of_the_logits_as_they_are():
    z, y, _, _ = batch(scale=8.0)
    confidence = confidences(z, y, 1.0, detach=True)
    got = relaxed_loss(z, y, confidence, relaxed=False, alpha=9.0, t=0.5)
    s = z / (1 + 0.5 * z.norm(dim=1, keepdim=True))
    soft = torch.full_like(z, 0.0) + ((1 - confidence) / 4)[:, None]
    soft[torch.arange(12), y] = confidence
    torch.testing.assert_close(got, functional.cross_entropy(s, soft))
    assert (confidence > 0.9).all()


@pytest.mark.parametrize("t", [0.05, 1.0, 10.0])
def test_shrunken_vectors_are_shorter_than_one_by_t_and_point_where_they_did(t):
    v = (
        torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        * torch.logspace(-6, 9, 50)[:, None]
    )
    s = shrink(v, t)
    assert (s.norm(dim=1) < 1 / t).all()
    torch.testing.assert_close(functional.cosine_similarity(s, v, eps=1e-30), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(shrink(v, 0.0), v)


@pytest.mark.parametrize("t", [0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_shrinking_bounds_the_loss_from_below(t, classes):
    z = 1e6 * (torch.eye(classes, dtype=torch.float64) - 1 / classes)
    labels = torch.arange(classes)
    least = math.log1p((classes - 1) * math.exp(-math.sqrt(classes / (classes - 1)) / t))
    got = relaxed_loss(z, labels, torch.ones(classes), relaxed=True, alpha=0.0, t=t)
    assert got.item() == pytest.approx(least, rel=1e-4)


@pytest.mark.parametrize("t", [0.0, 0.2])
@pytest.mark.parametrize("alpha", [0.1, 50.0])  # the distance of the batch lies between
@pytest.mark.parametrize("relaxed", [True, False])
def test_the_centre_loss_an_example_at_a_time(relaxed, alpha, t):
    z, y, features, centers = batch()
    c = confidences(z, y, 0.8, detach=False)
    got, distance = center_loss(features, centers, c, relaxed=relaxed, alpha=alpha, t=t)
    near, origin = [], []
    for f, mu in zip(features, centers, strict=True):
        f, mu = f / (1 + t * f.norm()), mu / (1 + t * mu.norm())  # noqa: PLW2901 - as the formula says
        near.append(((f - mu) ** 2).sum())
        origin.append((f**2).sum())
    half = sum(near) / 24
    want = abs(half - alpha) if relaxed else half
    if not relaxed and half <= alpha:
        want = sum(a * d + (1 - a) * o for a, d, o in zip(c, near, origin, strict=True)) / 24
    torch.testing.assert_close(distance, half)
    torch.testing.assert_close(got, want)
    for variable in (features, centers):
        gradients = [torch.autograd.grad(loss, variable, retain_graph=True)[0] for loss in (got, want)]
        torch.testing.assert_close(*gradients)


def test_features_that_are_zero_have_a_gradient():
    features = torch.zeros(3, 4, requires_grad=True)
    loss, _ = center_loss(features, torch.ones(3, 4), torch.ones(3), relaxed=False, alpha=0.0, t=0.1)
    loss.backward()
    assert features.grad.isfinite().all()
    assert (features.grad < 0).all()
