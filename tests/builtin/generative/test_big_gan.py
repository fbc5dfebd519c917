import numpy as np
import pytest
import torch
from torch import nn

from privbench.builtin.generative.big_gan import networks, standing_statistics
from privbench.builtin.generative.spectral import Convolution, Linear, Stack


@pytest.mark.parametrize("side", [8, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_nets_fit_the_canvas(side, channels):
    generator, discriminator = networks(side, channels, 5, width=2, latent=6)
    y = torch.arange(4)
    images = generator(torch.zeros(4, 6), y)
    heads = discriminator(images)
    assert images.shape == (4, channels, side, side)
    assert images.abs().max() <= 1
    assert [head.shape for head in heads] == [(4,), (4, 5), (4, 5)]
    assert (heads.classifier != heads.twin).any()


def test_the_paper_s_nets_have_its_maps():
    with torch.device("meta"):
        generator, discriminator = networks(32, 3, 10, width=64, latent=128)
        assert generator.bottom.weight.shape == (256 * 4 * 4, 128)
        assert [block.conv2.weight.shape[0] for block in generator.blocks] == [256] * 3
        assert [block.halve for block in discriminator.trunk] == [True, True, False, False]
        large, _ = networks(64, 3, 10, width=64, latent=128)
        assert [block.conv2.weight.shape[0] for block in large.blocks] == [1024, 512, 256, 128]


def singular(weight):
    return torch.linalg.matrix_norm(weight.detach().flatten(1).double(), 2).item()


def test_spectral_normalisation_bounds_every_map():
    torch.manual_seed(0)
    stack = Stack([(5, 7), (7, 7), (7, 2)])
    linear, convolution = Linear(6, 9), Convolution(3, 8)
    for _ in range(200):
        pairs = stack()
        linear(torch.zeros(1, 6))
        convolution(torch.zeros(1, 3, 4, 4))
    for weight, _ in pairs:
        assert singular(weight) == pytest.approx(1, abs=1e-3)
    assert singular(linear.normal(linear.weight[None])[0]) == pytest.approx(1, abs=1e-3)
    assert singular(convolution.normal(convolution.weight.flatten(1)[None])[0]) == pytest.approx(1, abs=1e-3)
    stack.eval()
    before = stack.left.clone()
    assert all(singular(weight) == pytest.approx(1, abs=1e-3) for weight, _ in stack())
    assert torch.equal(stack.left, before)


def test_its_gradient_is_torch_s_own():
    torch.manual_seed(0)
    ours, reference = Linear(6, 4).double(), nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4).double())
    reference.parametrizations.weight.original.data.copy_(ours.weight.data)
    theirs = reference.parametrizations.weight[0]
    ours.eval()
    reference.eval()
    ours.left[0], ours.right[0] = theirs._u, theirs._v
    x = torch.randn(3, 6, dtype=torch.float64)
    ours(x).pow(2).sum().backward()
    expected = torch.autograd.grad(
        nn.functional.linear(x, reference.weight, ours.bias.detach()).pow(2).sum(),
        reference.parametrizations.weight.original,
    )
    torch.testing.assert_close(ours.weight.grad, expected[0])


def test_a_stack_is_its_maps_and_its_zeros_stay():
    torch.manual_seed(0)
    stack = Stack([(2, 3), (3, 1)])
    optimiser = torch.optim.Adam(stack.parameters(), lr=0.1)
    for _ in range(5):
        (first, bias), (second, _) = stack()
        assert (first.shape, bias.shape, second.shape) == ((3, 2), (3,), (1, 3))
        optimiser.zero_grad()
        (first.pow(3).sum() + second.sin().sum() + bias.sum()).backward()
        optimiser.step()
    assert (stack.weight[0, :, 2] == 0).all()
    assert (stack.weight[1, 1:] == 0).all()
    assert stack.weight.count_nonzero() == 9


def test_initial_weights_are_the_paper_s():
    torch.manual_seed(0)
    dense, _ = networks(8, 1, 10, width=16, latent=64)
    maps, _ = networks(32, 1, 10, width=16, latent=64)
    for weight in (dense.norm1.affine.weight, dense.maps.weight[1], maps.bottom.weight, maps.out.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    for bias in (dense.maps.bias, maps.bottom.bias, maps.out.bias):
        assert not bias.any()


def test_standing_statistics_are_those_of_the_weights_at_hand():
    torch.manual_seed(0)
    generator, _ = networks(8, 1, 3, width=2, latent=4)
    z, y = torch.randn(512, 4), torch.randint(3, (512,))
    for _ in range(200):
        generator(z, y)  # until the singular values are found
    standing_statistics(generator, [(z, y)] * 30)  # the same batch, so that the average is that batch's
    assert not generator.training
    with torch.no_grad():
        standing = generator(z, y)
        generator.train()
        np.testing.assert_allclose(standing, generator(z, y), atol=1e-2)
    assert generator.norm.momentum == 0.1
