"""The models: sizes, shapes, small and large images, and what they refuse."""

import itertools

import pytest
import torch

from privbench.builtin import models
from privbench.errors import BadOption
from privbench.learn.drawing import Dropout

IMAGE_MODELS = [name for name in models.NAMES if name != "mlp"]
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 70, 66)]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def last_map(model, part, shape):
    """Return the (height, width) that a submodule puts out."""
    seen = []
    part.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[-2:])))
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return seen[0]


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(models.NAMES, SHAPES)])
def test_every_model_takes_every_image_size_in_training_and_in_evaluation(name, shape):
    with torch.device("meta"):
        model = models.build(name, shape, 7)
        x = torch.zeros(3, *shape)
    assert model(x).shape == (3, 7)
    assert model.eval()(x).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        ("resnet18", (3, 32, 32), 100, 11_220_132),  # about 11.2 million
        ("resnet18", (1, 28, 28), 10, 11_172_810),
        ("mobilenet_v3_small", (3, 32, 32), 100, 1_620_356),
        ("hivit_tiny", (3, 32, 32), 100, 18_749_920),
        ("mlp", (1, 8, 8), 10, 64 * 256 + 256 + 256 * 10 + 10),
        ("cnn", (1, 28, 28), 10, 320 + 64 + 18_496 + 128 + (3136 + 1) * 256 + 257 * 128 + 129 * 10),
    ],
)
def test_parameters_are_as_many_as_counted_by_hand_or_published(name, shape, classes, parameters):
    assert count(models.build(name, shape, classes)) == parameters


def test_the_hidden_layers_of_the_mlp_are_an_option():
    model = models.build("mlp", (784,), 10, hidden=(1000, 300))
    assert count(model) == 785 * 1000 + 1001 * 300 + 301 * 10


@pytest.mark.parametrize(("side", "stride", "final"), [(8, 1, 2), (28, 1, 2), (32, 1, 2), (48, 1, 3), (64, 2, 2)])
def test_mobilenet_changes_only_the_stem_and_ends_in_2x2_from_32_pixels(side, stride, final):
    shape = (3, side, side)
    model = models.build("mobilenet_v3_small", shape, 10)
    net = model if side >= 32 else model[1]
    blocks = [next(m for m in block.modules() if getattr(m, "groups", 1) > 1).stride[0] for block in net.features[1:-1]]
    assert net.features[0][0].stride == (stride, stride)
    assert blocks == [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1]
    assert last_map(model, net.features, shape) == (final, final)
    assert [layer.p for layer in net.classifier if isinstance(layer, Dropout)] == [0.2]


def test_mobilenet_keeps_running_averages_that_follow_within_a_few_hundred_steps():
    norms = [m for m in models.build("mobilenet_v3_small", (3, 32, 32), 10).modules() if hasattr(m, "running_mean")]
    assert {norm.momentum for norm in norms} == {0.1}


@pytest.mark.parametrize(("side", "final"), [(28, 4), (32, 4), (64, 4)])
def test_resnet_has_a_small_stem_and_no_max_pool(side, final):
    shape = (3, side, side)
    model = models.build("resnet18", shape, 10)
    net = model if side >= 32 else model[1]
    assert (net.conv1.kernel_size, net.conv1.padding) == ((3, 3), (1, 1))
    assert not any(isinstance(module, torch.nn.MaxPool2d) for module in net.modules())
    assert last_map(model, net.layer4, shape) == (final, final)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "hivit_tiny"])
def test_small_images_are_centred_on_a_32x32_field_of_zeros(name):
    image = torch.rand(1, 1, 7, 10)
    field = models.build(name, (1, 7, 10), 3)[0](image)
    assert field.shape == (1, 1, 32, 32)
    assert torch.equal(field[..., 12:19, 11:21], image)
    assert field.count_nonzero() == image.count_nonzero()


@pytest.mark.parametrize("name", models.NAMES)
def test_initial_weights_follow_from_torchs_seed(name):
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(torch.cat([p.detach().flatten() for p in models.build(name, (3, 32, 32), 5).parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_image_models_refuse_tables(name):
    with pytest.raises(BadOption, match=f"^model '{name}' needs images; 'mlp' takes tables.$"):
        models.build(name, (30,), 4)


def test_images_too_small_for_the_cnn_are_refused_and_the_smallest_are_not():
    with pytest.raises(BadOption, match="'cnn' needs images of at least 4x4 pixels, not 3x9"):
        models.build("cnn", (1, 3, 9), 4)
    assert models.build("cnn", (1, 4, 4), 2)(torch.zeros(2, 1, 4, 4)).shape == (2, 2)


def test_a_typo_is_answered_with_the_nearest_name():
    with pytest.raises(BadOption, match=r"No model named .resnet.\. Did you mean .resnet18."):
        models.build("resnet", (3, 32, 32), 10)
