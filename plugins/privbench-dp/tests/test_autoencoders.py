"""The nets' shapes, and the divergence and totals that their losses are made of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from privbench_dp import autoencoders
from privbench_dp.autoencoders import Vae, bernoulli_loss, gaussian_loss, kl_divergence
from torch import distributions
from torch.nn import functional

from privbench.learn import lent

SHAPES = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 17, 22), (12,)]


@given(m=st.floats(-5, 5), v=st.floats(1e-3, 50))
@settings(deadline=None, max_examples=50)
def test_the_divergence_is_the_closed_form(m, v):
    found = kl_divergence(torch.tensor([[m]], dtype=torch.float64), torch.tensor([[v]], dtype=torch.float64).log())
    assert float(found) == pytest.approx((m**2 + v - 1 - np.log(v)) / 2, abs=1e-9)


def test_the_divergence_is_torchs_and_a_mean_over_draws():
    mean, log_variance = torch.tensor([[0.7, -1.2]]), torch.tensor([[0.3, -0.9]])
    own = distributions.Normal(mean, (log_variance / 2).exp())
    prior = distributions.Normal(0.0, 1.0)
    exact = distributions.kl_divergence(own, prior).sum(dim=1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), exact)
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    z = mean + noise * (log_variance / 2).exp()
    drawn = (own.log_prob(z) - prior.log_prob(z)).sum(dim=1)
    assert abs(float(drawn.mean() - exact)) < 5 * float(drawn.std()) / len(z) ** 0.5


def test_no_divergence_from_the_prior_itself():
    assert kl_divergence(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_encoded_is_decoded_to_the_same_shape(shape):
    x = torch.rand(3, *shape)
    code = autoencoders.encoder(shape, 8, 5)(x)
    assert code.shape == (3, 5)
    assert autoencoders.decoder(shape, 8, 5)(code).shape == x.shape
    decoded, mean, log_variance = Vae(shape, 8, 2)(x)
    assert decoded.shape == x.shape
    assert mean.shape == log_variance.shape == (3, 2)


@pytest.mark.parametrize("width", [0, 7])
def test_a_classifier_of_codes_has_a_hidden_layer_or_none(width):
    net = autoencoders.head(5, width, 4)
    assert net(torch.rand(3, 5)).shape == (3, 4)
    assert sum(isinstance(module, torch.nn.Linear) for module in net) == 1 + bool(width)


def test_an_example_has_one_loss_of_both_terms():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 1, 3, 3, generator=generator)
    logits, mean, log_variance = (torch.randn(4, *size, generator=generator) for size in ((1, 3, 3), (2,), (2,)))
    kl = kl_divergence(mean, log_variance)
    for row in range(4):
        crossed = functional.binary_cross_entropy(logits[row].sigmoid(), x[row], reduction="sum")
        squared = (logits[row] - x[row]).square().sum() / 2
        torch.testing.assert_close(bernoulli_loss((logits, mean, log_variance), x)[row], crossed + kl[row])
        torch.testing.assert_close(gaussian_loss((logits, mean, log_variance), x)[row], squared + kl[row])


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 17, 17)])
def test_every_parameter_has_gradients_per_example_that_sum_to_torchs(shape):
    from privbench_dp.gradients import per_example_gradients

    torch.manual_seed(0)
    net = torch.nn.Sequential(autoencoders.encoder(shape, 8, 5), autoencoders.decoder(shape, 8, 5))
    x = torch.rand(6, *shape)

    def losses(out):
        return (out - x).square().flatten(1).mean(dim=1)

    expected = torch.autograd.grad(losses(net(x)).sum(), list(net.parameters()))
    with per_example_gradients(net) as wrapped:
        losses(wrapped(x)).sum().backward()
        for parameter, gradient in zip(net.parameters(), expected, strict=True):
            assert len(parameter.grad_sample) == 6
            torch.testing.assert_close(parameter.grad_sample.sum(dim=0), gradient, rtol=1e-4, atol=1e-5)


def test_the_step_of_an_autoencoder_runs_on_one_device_alone():
    with torch.device("meta"):
        vae = Vae((1, 8, 8), 8, 2)
        x = torch.rand(3, 1, 8, 8)
    bernoulli_loss(vae(x), x).sum().backward()
    assert all(parameter.grad.device.type == "meta" for parameter in vae.parameters())


def test_noise_is_drawn_from_the_generator_that_is_lent():
    vae, x = Vae((1, 8, 8), 8, 2), torch.rand(3, 1, 8, 8)
    decoded = []
    for seed in (0, 0, 1):
        before = torch.random.get_rng_state()
        with lent(vae, torch.Generator().manual_seed(seed)):
            decoded.append(vae(x)[0])
        assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(decoded[0], decoded[1])
    assert not torch.equal(decoded[0], decoded[2])
