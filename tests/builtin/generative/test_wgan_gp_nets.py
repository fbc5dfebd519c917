import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from privbench.builtin.generative.wgan_gp_nets import (
    DENSE,
    Critic,
    Generator,
    NoisyClip,
    selu,
)

INF = float("inf")


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def critic(side=8, channels=1, **changed):
    return Critic(side, channels, 3, **({"width": 4, "code": 6, "sigma": 1.5, "clip": 1.0} | changed))


def labels(n=5):
    return functional.one_hot(torch.arange(n) % 3, 3).float()


@pytest.mark.parametrize("clip", [0.5, 1.0])
def test_codes_are_clipped_to_the_ball_before_the_noise(clip):
    short, long = torch.tensor([[0.1, 0.2]]), torch.tensor([[30.0, 40.0]])
    layer = NoisyClip(0.0, clip)
    torch.testing.assert_close(layer(short), short)
    torch.testing.assert_close(layer(long), clip * torch.tensor([[0.6, 0.8]]))
    many = layer(100 * torch.randn(1000, 6))
    assert many.norm(dim=1).max() <= clip * (1 + 1e-6)


def test_noise_has_the_scale_of_sigma_and_none_is_added_in_eval_mode():
    layer, code, noise = NoisyClip(1.5, 1.0), torch.zeros(7, 6), torch.randn(7, 6)
    torch.testing.assert_close(layer(code, noise), 1.5 * noise)
    assert torch.equal(layer.eval()(code, noise), code)


def test_without_clip_and_noise_the_layer_is_the_identity_bit_for_bit():
    code = 100 * torch.randn(50, 6)
    assert torch.equal(NoisyClip(0.0, INF)(code, torch.randn(50, 6)), code)
    net = critic(sigma=0.0, clip=INF)
    images = torch.randn(5, 1, 8, 8)
    plain = net.head(net.code(images, labels()))[:, 0]
    assert torch.equal(net(images, labels(), torch.randn(5, 6)), plain)


@pytest.mark.parametrize("clip", [1.0, INF])
def test_the_gradient_by_the_input_is_the_same_whatever_the_noise(clip):
    net = critic(clip=clip)
    images = torch.randn(5, 1, 8, 8, requires_grad=True)
    slopes = [
        torch.autograd.grad(net(images, labels(), noise).sum(), images)[0]
        for noise in (None, torch.randn(5, 6), 10 * torch.randn(5, 6))
    ]
    for slope in slopes[1:]:
        torch.testing.assert_close(slope, slopes[0], rtol=0, atol=1e-6)
    assert slopes[0].abs().max() > 0


def test_the_values_do_depend_on_the_noise():
    net, images = critic(), torch.randn(5, 1, 8, 8)
    assert (net(images, labels(), torch.randn(5, 6)) != net(images, labels())).all()


def test_what_the_label_changes_depends_on_the_image():
    # Were it a constant, it would cancel between real and fake images, and no label would be learnt.
    net = critic(sigma=0.0, clip=INF)
    images = torch.randn(5, 1, 8, 8)
    difference = net(images, labels()) - net(images, labels().roll(1, dims=1))
    same_change = difference[labels()[:, 0] == 1]
    assert same_change.std() > 1e-3


@pytest.mark.parametrize(("position", "side", "kernel", "stride"), [(0, 8, 4, 2), (1, 4, 4, 2), (2, 2, 3, 1)])
def test_a_convolution_as_a_matrix_is_the_convolution(position, side, kernel, stride):
    layer = critic(channels=3, width=5).convolutions[position]
    assert (layer.kernel_size, layer.stride) == ((kernel,) * 2, (stride,) * 2)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, layer.in_channels, side, side)
    torch.testing.assert_close(layer.map()(x), layer(x).flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("position", "side"), [(0, 2), (1, 4), (2, 8)])
def test_a_deconvolution_as_a_matrix_is_the_deconvolution(position, side):
    layer = Generator(8, channels=3, classes=3, width=5, latent=4).deconvolutions[position]
    nn.init.normal_(layer.bias)
    x = torch.randn(2, layer.in_channels, side, side)
    torch.testing.assert_close(layer.map()(x), layer(x).flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [8, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_size_of_the_canvas_and_codes_that_of_the_option(side, channels):
    generator, net = Generator(side, channels, 3, 4, 7), critic(side, channels)
    images = generator(torch.randn(5, 7), labels())
    assert images.shape == (5, channels, side, side)
    assert images.abs().max() <= 1
    assert net.code(images, labels()).shape == (5, 6)
    assert net(images, labels()).shape == (5,)
    assert len(net.convolutions) == 4
    assert net.convolutions[0].dense == (side <= DENSE)


def test_the_first_map_of_32_pixels_has_the_papers_4096_numbers():
    assert Generator(32, 1, 10, 64, 100).linear.out_features == 4096


def test_the_generator_can_paint_black_and_white():
    generator = Generator(8, 1, 3, 4, 7)
    last = generator.deconvolutions[-1]
    for value in (-9.0, 9.0):
        nn.init.constant_(last.bias, value)
        np.testing.assert_allclose(generator(torch.zeros(1, 7), labels(1)).detach(), np.sign(value), atol=0.02)


def test_the_matrices_of_small_canvases_are_not_stored():
    assert not [name for name in critic().state_dict() if "taps" in name]


def test_selu_is_torch_s():
    x = torch.linspace(-30, 30, 6001)
    exact = functional.selu(x.double())
    torch.testing.assert_close(selu(x).double(), exact, rtol=2e-7, atol=2e-7)
    torch.testing.assert_close(selu(x.double()), exact, rtol=1e-15, atol=1e-15)


def test_selu_can_be_differentiated_twice():
    x = torch.tensor([-3.0, -0.2, 0.1, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(selu, x)
    assert torch.autograd.gradgradcheck(selu, x)
