"""HiViT-T: its size, its tokens, its positions, and that it learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from privbench.api import Blueprint, Context
from privbench.builtin.models import build, hivit
from privbench.builtin.models.hivit import Attention, HiViT, Merge
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption
from privbench.learn import predict, train
from privbench.learn.drawing import DropPath


def small(channels=1, grid=(2, 2), classes=4, seed=0):
    """Return the whole net on images of four tokens."""
    torch.manual_seed(seed)
    return HiViT(channels, grid, 4, classes)


def images(n, side=8, channels=1, seed=0):
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def expected(channels, pixels, side, classes):
    """Count by hand, from the stages of the paper: `pixels` embedded together, `side` tokens a side."""
    norm = 2
    pair = 2 * (norm * 96 + 96 * 288 + 288 + 288 * 96 + 96)
    second = 2 * (norm * 192 + 192 * 576 + 576 + 576 * 192 + 192)
    merges = norm * 384 + 384 * 192 + norm * 768 + 768 * 384
    attention = norm * 384 + 384 * 1152 + 1152 + 384 * 384 + 384 + 6 * (2 * side - 1) ** 2
    block = attention + norm * 384 + 384 * 1536 + 1536 + 1536 * 384 + 384
    embed = channels * 96 * pixels**2 + 96 + norm * 96
    return embed + pair + second + merges + side**2 * 384 + 10 * block + norm * 384 + 384 * classes + classes


@pytest.mark.parametrize(
    ("shape", "classes", "pixels", "side", "parameters"),
    [
        ((3, 224, 224), 1000, 4, 14, 19_181_668),  # the paper's table: 19.2 million
        ((3, 32, 32), 100, 1, 8, 18_749_920),
        ((3, 64, 64), 200, 2, 8, 18_789_284),
        ((1, 28, 28), 10, 1, 8, 18_715_078),
    ],
)
def test_parameters_are_as_many_as_counted_by_hand_and_published(shape, classes, pixels, side, parameters):
    with torch.device("meta"):
        assert count(build("hivit_tiny", shape, classes)) == parameters
    assert expected(shape[0], pixels, side, classes) == parameters


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [
        ((1, 8, 8), 64),
        ((1, 28, 28), 64),
        ((3, 32, 32), 64),
        ((3, 48, 48), 144),
        ((3, 64, 64), 64),
        ((1, 70, 66), 81),
        ((3, 33, 32), 72),
        ((3, 128, 128), 64),
        ((3, 224, 224), 196),
    ],
)
def test_the_main_stage_has_as_many_tokens_as_there_are_patches(shape, tokens):
    with torch.device("meta"):
        model = build("hivit_tiny", shape, 5)
        x = torch.zeros(2, *shape)
    net = model if isinstance(model, HiViT) else model[1]
    seen = []
    net.main.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0].shape, output.shape)))
    assert model(x).shape == (2, 5)
    assert seen == [((2, tokens, 384), (2, tokens, 384))]
    assert len(net.position) == tokens


def test_images_are_centred_on_a_field_of_whole_patches():
    image = torch.rand(1, 1, 70, 66)
    with torch.device("meta"):
        padding = build("hivit_tiny", (1, 70, 66), 3)[0]
    field = padding(image)
    assert field.shape == (1, 1, 72, 72)
    assert torch.equal(field[..., 1:71, 3:69], image)
    assert field.count_nonzero() == image.count_nonzero()


def test_tables_are_refused():
    with pytest.raises(BadOption, match="model 'hivit_tiny' needs images; 'mlp' takes tables"):
        build("hivit_tiny", (12,), 3)


def test_the_stages_are_those_of_the_paper():
    net = small()
    names = [type(module).__name__ for module in net.stem]
    assert names == ["Residual", "Residual", "Merge", "Residual", "Residual", "Merge", "Flatten"]
    assert [isinstance(block.part, Attention) for block in net.main] == [True, False] * 10
    assert not any(isinstance(module, Attention) for module in net.stem.modules())
    assert {module.heads for module in net.modules() if isinstance(module, Attention)} == {6}


def test_a_step_stays_on_its_device_and_its_gradient_reaches_every_parameter():
    with torch.device("meta"):
        net = hivit.build((3, 32, 32), 7)
        net(torch.zeros(4, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in net.parameters())
    net = small()
    net(images(6)).square().sum().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_each_pair_of_tokens_has_the_bias_of_its_offset():
    attention = Attention(12, 2, (3, 4))
    biases = attention.biases()
    assert biases.shape == (2, 12, 12)
    for a in range(12):
        for b in range(12):
            down, across = a // 4 - b // 4, a % 4 - b % 4
            assert torch.equal(biases[:, a, b], attention.bias[:, down + 2, across + 3])


def test_attention_is_softmax_of_scaled_products_and_biases():
    torch.manual_seed(0)
    attention = Attention(12, 2, (2, 2))
    x = torch.randn(1, 4, 12)
    q, k, v = attention.qkv(x)[0].split(12, dim=1)
    mixed = []
    for head in range(2):
        part = slice(6 * head, 6 * head + 6)
        scores = q[:, part] @ k[:, part].T / math.sqrt(6) + attention.biases()[head]
        mixed.append(scores.softmax(dim=1) @ v[:, part])
    torch.testing.assert_close(attention(x)[0], attention.project(torch.cat(mixed, dim=1)))


def test_merging_joins_four_neighbours_and_no_others():
    merge = Merge(3)
    x = torch.zeros(1, 4, 6, 3)
    before = merge(x)
    x[0, 2, 5] = torch.tensor([1.0, 2.0, 4.0])
    changed = (merge(x) != before).any(dim=3)[0]
    assert before.shape == (1, 2, 3, 6)
    assert changed.nonzero().tolist() == [[1, 2]]


def test_the_stem_mixes_nothing_across_patches():
    """Its MLPs and mergings stay inside a patch of the main stage, as in the authors' layout by patches."""
    net, x = small().eval(), images(1)
    x.requires_grad_()
    token = net.stem(net.embed_norm(net.embed(x).permute(0, 2, 3, 1)))[0, 1]
    (slope,) = torch.autograd.grad(token.square().sum(), x)
    assert slope[0, 0, :4, 4:].abs().min() > 0
    assert slope.count_nonzero() == 16


def test_stochastic_depth_rises_to_a_twentieth_and_acts_in_training_only():
    net, x = small(), images(40)
    rates = [module.p for module in net.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx(
        [0.05 * i / 13 for i in range(4)] + [0.05 * i / 13 for i in range(4, 14) for _ in "ab"]
    )
    with torch.no_grad():
        torch.manual_seed(1)
        first = net(x)
        other = net(x)
        torch.manual_seed(1)
        assert torch.equal(net(x), first)
        assert not torch.equal(first, other)
        net.eval()
        assert torch.equal(net(x), net(x))


def test_what_stochastic_depth_keeps_is_scaled_up_to_the_same_mean():
    block = hivit.Residual(8, nn.Identity(), 0.25)
    torch.manual_seed(0)
    x = torch.randn(1, 8).expand(20_000, 8)
    kept = (block(x) - x)[:, 0] / block.norm(x[:1])[0, 0]
    assert kept.detach().unique().tolist() == pytest.approx([0, 4 / 3])
    assert kept.mean().item() == pytest.approx(1, abs=0.02)


def test_answers_are_each_examples_own():
    net, x = small().eval(), images(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(net(x[order]), net(x)[order], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(net(x[:1]), net(x)[:1], rtol=1e-5, atol=1e-6)


def test_positions_matter():
    net, x = small().eval(), images(2)
    with torch.no_grad():
        assert not torch.allclose(net(x), net(x.flip(-1)), rtol=1e-3, atol=1e-4)


@pytest.fixture
def narrow(monkeypatch):
    """Make the net narrow and shallow, to train it in a second."""
    monkeypatch.setattr(hivit, "WIDTH", 96)
    monkeypatch.setattr(hivit, "DEPTHS", (1, 1, 2))


def problem(**recipe):
    shape, rng = (1, 8, 8), np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (32, 8, 8, 1), dtype=np.uint8), np.arange(32) % 4)
    adamw = Recipe(optimizer="adamw", batch_size=32, weight_decay=0.05, **recipe)
    return Blueprint("t", adamw, shape, 4, lambda: HiViT(1, (2, 2), 4, 4)), examples


def test_32_random_images_are_learnt_by_heart(narrow):
    task, examples = problem(epochs=60, lr=3e-3, warmup=5)
    model = train(task, examples, Context())
    assert (predict(model, examples.x, device="cpu").argmax(axis=1) == examples.y).all()


def test_training_is_reproducible_though_blocks_are_dropped_at_random(narrow, monkeypatch):
    monkeypatch.setattr(hivit, "DROP_PATH", 0.5)
    task, examples = problem(epochs=3, lr=1e-3)
    weights = []
    for state, seed in ((1, 0), (2, 0), (2, 1)):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            model = train(task, examples, Context(seed))
        weights.append(b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values()))
    assert weights[0] == weights[1] != weights[2]
