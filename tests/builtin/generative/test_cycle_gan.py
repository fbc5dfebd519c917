"""CycleGAN on images: networks, batches, training and application."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from privbench.api import Blueprint, Context
from privbench.builtin.generative import cycle_gan as c
from privbench.builtin.generative.cycle_game import POOL, Game, Swaps, step
from privbench.builtin.generative.cycle_gan_nets import Clamp, Reflected, discriminator, generator, sliced
from privbench.builtin.generative.cycle_gan_options import CURVE, R2S, S2R, CycleGanOptions
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption, Diverged
from privbench.learn.optimisers import adam
from privbench.testing.tape import one_by_one, taped
from privbench.testing.toy import ToyTask, blueprint

FEW = CycleGanOptions(cycle_steps=60, cycle_batch=4, cycle_width=2)


def plan(shape=(1, 8, 8)):
    return Blueprint("images", Recipe(), shape, 3, build=nn.Identity)


def images(n=12, shape=(1, 8, 8), seed=0, *, low=0, high=256):
    rng = np.random.default_rng(seed)
    x = rng.integers(low, high, (n, *shape[1:], shape[0]), dtype=np.uint8)
    return Examples(x, np.arange(n) % 3)


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize(
    ("side", "channels", "conv", "patches"),
    [(8, 1, False, ()), (8, 1, True, (1, 2, 2)), (32, 3, True, (1, 6, 6)), (64, 3, False, (1, 6, 6))],
)
def test_a_step_stays_on_the_device(side, channels, conv, patches, classes):
    width, batch = 2, 3
    with torch.device("meta"):
        modules = [generator(channels, side, width, conv=conv) for _ in range(2)]
        modules += [discriminator(channels, side, width, conv=conv, classes=classes) for _ in range(2)]
        labels = torch.empty(2, batch, classes) if classes else None
        optimisers = [adam(p for m in pair for p in m.parameters()) for pair in (modules[:2], modules[2:])]
        batches = torch.empty(2, batch, channels, side, side)
        game = Game(*modules, *optimisers, batches.flatten(0, 1), lambda_cycle=10.0, identity=0.5)
        game.labels = None if labels is None else labels.flatten(0, 1)
        slots, flags = torch.empty(2 * batch, dtype=torch.int64), torch.empty(2 * batch, dtype=torch.bool)
    of = None if labels is None else (labels[0], labels[1])
    losses = step(game, batches[0], batches[1], Swaps(slots, flags, flags), 1e-3, labels=of)
    assert all(loss.device.type == "meta" and loss.shape == () for loss in losses)
    assert modules[0](batches[0]).shape == batches[0].shape
    seen = () if labels is None else (labels[0],)
    assert modules[2](batches[0], *seen).shape == (batch, *(patches or (1,)))


@pytest.mark.parametrize(("side", "field"), [(32, 34), (64, 70)])
def test_a_patch_has_the_receptive_field_of_the_paper(side, field):
    reach, stride = 1, 1
    for module in discriminator(3, side, 2):
        if isinstance(module, nn.Conv2d):
            reach += (module.kernel_size[0] - 1) * stride
            stride *= module.stride[0]
    assert reach == field


def test_generators_of_32_pixels_have_the_authors_layers():
    convolutions = [
        m for m in generator(3, 32, 64, skip=False).modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    widths = [m.out_channels for m in convolutions]
    assert widths == [64, 128, 256, *[256] * 12, 128, 64, 3]
    weights = torch.cat([m.weight.detach().flatten() for m in convolutions])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("kernel", [3, 7])
def test_reflection_is_torchs(kernel):
    x = torch.randn(2, 3, 8, 9, requires_grad=True)
    layer = Reflected(3, 4, kernel)
    padded = nn.functional.pad(x, (kernel // 2,) * 4, mode="reflect")
    assert torch.equal(sliced(x, kernel // 2), padded)
    want = layer.convolution(padded)
    assert torch.equal(layer(x), want)
    gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (layer(x), want)]
    torch.testing.assert_close(*gradients)


def test_beyond_the_range_only_gradients_that_lead_back_pass():
    x = torch.tensor([-2.0, -2.0, -0.5, 0.5, 2.0, 2.0], requires_grad=True)
    slope = torch.tensor([3.0, -3.0, 3.0, -3.0, 3.0, -3.0])
    out = Clamp.apply(x)
    assert out.tolist() == [-1.0, -1.0, -0.5, 0.5, 1.0, 1.0]
    # Descent goes against the slope: at -2 a negative one leads back, at 2 a positive one.
    assert torch.autograd.grad((out * slope).sum(), x)[0].tolist() == [0.0, -3.0, 3.0, -3.0, 3.0, 0.0]


@pytest.mark.parametrize(("side", "conv"), [(8, False), (8, True), (32, False)])
def test_generators_begin_as_the_identity_or_through_tanh(side, conv):
    task = plan((1, side, side))
    x = images(3, task.shape).x
    assert np.array_equal(c.apply(generator(1, side, 2, conv=conv), x, task, "cpu", "transform"), x)
    plain = generator(1, side, 2, skip=False, conv=conv)
    assert isinstance(plain[-1], nn.Tanh)
    assert not np.array_equal(c.apply(plain, x, task, "cpu", "transform"), x)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_trained_generators_are_kept_and_applied(shape):
    options = CycleGanOptions(cycle_steps=2, cycle_batch=2, cycle_width=2)
    arrays = c.between(images(4, shape), images(5, shape, 1), plan(shape), Context(), options, name="transform")
    assert arrays[CURVE].shape == (1, 4)
    x = images(3, shape, 2).x
    for which in (S2R, R2S):
        net = c.generator(plan(shape), arrays, which, options, "transform")
        out = c.apply(net, x, plan(shape), "cpu", "transform")
        assert (out.shape, out.dtype) == (x.shape, np.uint8)
        assert c.apply(net, x[:0], plan(shape), "cpu", "transform").shape == x[:0].shape


def test_an_epoch_is_a_pass_over_the_larger_domain():
    assert c.steps_of(CycleGanOptions(cycle_steps=7), 1000) == 7
    assert c.steps_of(CycleGanOptions(cycle_epochs=200, cycle_batch=16), 400) == 5000
    assert c.steps_of(CycleGanOptions(cycle_epochs=0.001, cycle_batch=16), 400) == 1
    options = CycleGanOptions(cycle_epochs=50, cycle_batch=3, cycle_width=1)
    arrays = c.between(images(4), images(9, seed=1), plan(), Context(), options, name="transform")
    assert len(arrays[CURVE]) == 50 * 9 / 3 / c.DRAWN_AT_ONCE


def test_a_critic_that_sees_classes_scores_one_image_by_its_class():
    torch.manual_seed(0)
    critic = discriminator(1, 8, 2, classes=3)
    x = torch.rand(1, 1, 8, 8).expand(3, -1, -1, -1)
    assert len(set(critic(x, torch.eye(3)).flatten().tolist())) == 3


def test_classes_are_told_apart_only_by_critics_that_see_them():
    """Both domains hold dark and light images of two classes; translation should swap nothing."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    dark = Examples((rng.integers(0, 60, (200, 8, 8, 1)) + 150 * (y == 1)[:, None, None, None]).astype(np.uint8), y)
    swapped = Examples(dark.x, 1 - y)
    kept = {}
    for classes in (True, False):
        options = CycleGanOptions(
            cycle_steps=200, cycle_batch=16, cycle_width=4, lambda_cycle=0.1, cycle_classes=classes
        )
        arrays = c.between(dark, swapped, plan(), Context(), options, name="transform")
        out = c.apply(c.generator(plan(), arrays, S2R, options, "transform"), dark.x, plan(), "cpu", "transform")
        kept[classes] = float((out.mean(axis=(1, 2, 3)) > 100)[y == 1].mean())
    assert kept[True] < 0.1  # light images of class 1 become dark, as in the other domain
    assert kept[False] > 0.9  # without labels both domains are the same


def test_training_moves_images_towards_the_other_domain():
    dark, light = images(30, low=0, high=100), images(30, seed=1, low=120, high=256)
    options = CycleGanOptions(cycle_steps=200, cycle_batch=16, cycle_width=8, cycle_lr=2e-3, lambda_cycle=1.0)
    arrays = c.between(dark, light, plan(), Context(), options, name="transform")
    for which, source, target in ((S2R, dark, light), (R2S, light, dark)):
        out = c.apply(c.generator(plan(), arrays, which, options, "transform"), source.x, plan(), "cpu", "transform")
        assert abs(out.mean() - target.x.mean()) < abs(source.x.mean() - target.x.mean()) / 3
    assert arrays[CURVE].shape == (4, 4)
    assert np.isfinite(arrays[CURVE]).all()


def test_same_seed_same_bits_and_no_touch_of_global_generators():
    before = torch.random.get_rng_state()
    runs = [c.between(images(), images(9, seed=1), plan(), Context(seed=s), FEW, name="transform") for s in (3, 3, 4)]
    c.generator(plan(), runs[0], R2S, FEW, "transform")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(np.array_equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert any(not np.array_equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_it_is_kept_by_both_domains_and_all_options():
    keys = []

    def keep(name, key, make, inner):
        keys.append((name, key))
        return {}

    context, one, other = Context(keep=keep), images(), images(9, seed=1)
    c.between(one, other, plan(), context, FEW, name="transform")
    c.between(one, other, plan(), context, CycleGanOptions(), name="transform")
    c.between(other, one, plan(), context, FEW, name="transform")
    assert all(name == "cycle-gan" and key["model_free"] for name, key in keys)
    assert keys[0][1]["inputs"] != keys[2][1]["inputs"]
    options = [key["options"] for _, key in keys]
    told = {"steps", "safe", "classes"}  # of cycle_steps, cycle_epochs and cycle_classes
    assert len(options[0]) == len(CycleGanOptions.__pydantic_fields__) - 3 + len(told)
    assert options[0] != options[1]
    assert options[0]["safe"] != options[2]["safe"]


def test_divergence_says_what_to_do():
    options = CycleGanOptions(cycle_steps=60, cycle_batch=4, cycle_width=2, cycle_lr=1e30)
    with pytest.raises(Diverged, match=r"cycle_lr=1e\+29"):
        c.between(images(), images(seed=1), plan(), Context(), options, name="transform")


def test_tables_and_large_images_are_refused():
    for shape, what in (((7,), "7-column tables"), ((3, 65, 65), "not 65")):
        with pytest.raises(BadOption, match=what):
            c.between(images(), images(), plan(shape), Context(), FEW, name="transform")


def test_the_rate_falls_in_the_second_half():
    rates = [c.lr_at(2.0, at, 100) for at in range(100)]
    assert rates[:51] == [2.0] * 51
    assert rates[75] == 1.0
    assert 0 < rates[99] < 0.05


@given(st.integers(0, 99))
def test_matched_batches_hold_the_same_classes(seed):
    rng = np.random.default_rng(seed)
    safe, risky = rng.integers(0, 4, 30), rng.integers(1, 6, 20)
    rows = c.Rows(safe, risky, matched=True)
    one, other = rows.draw(5, 8, torch.Generator().manual_seed(seed))
    assert one.shape == other.shape == (5, 8)
    assert np.array_equal(safe[one.numpy()], risky[other.numpy()])


def test_matched_batches_draw_classes_as_the_mean_of_both_domains_and_images_alike():
    safe, risky = np.repeat([0, 1], [30, 10]), np.repeat([1, 0], [10, 10])
    one, _ = c.Rows(safe, risky, matched=True).draw(100, 400, torch.Generator().manual_seed(0))
    assert (safe[one.numpy()] == 0).mean() == pytest.approx((3 / 4 + 1 / 2) / 2, abs=0.01)
    counts = np.bincount(one.flatten().numpy(), minlength=40)
    assert counts[:30].std() / counts[:30].mean() < 0.1
    assert (counts > 0).all()


def test_domains_that_share_no_class_and_unmatched_batches_draw_from_all():
    for rows in (
        c.Rows(np.zeros(5, int), np.ones(7, int), matched=True),
        c.Rows(np.arange(5), np.arange(7), matched=False),
    ):
        one, other = rows.draw(50, 8, torch.Generator().manual_seed(0))
        assert set(one.flatten().tolist()) == set(range(5))
        assert set(other.flatten().tolist()) == set(range(7))


def test_the_toy_tasks_images_fit():
    dataset = ToyTask().load()
    pool = dataset.role("pool")
    arrays = c.between(pool[:20], pool[20:], blueprint(ToyTask(), dataset), Context(), FEW, name="transform")
    assert len(arrays[CURVE]) == 2


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 8, 8), {}),
        ((3, 8, 8), {"identity": 0.5}),
        ((1, 8, 8), {"cycle_skip": False}),
        ((1, 8, 8), {"cycle_matched": False}),
        ((1, 8, 8), {"cycle_classes": False}),
        ((1, 8, 8), {"cycle_conv": True}),
        ((1, 8, 8), {"cycle_epochs": 2.0}),
        ((1, 8, 8), {"cycle_batch": 9, "cycle_steps": c.DRAWN_AT_ONCE + 10}),
        ((1, 8, 8), {"cycle_batch": POOL + 1}),
        ((1, 28, 28), {"cycle_batch": 12}),
        ((3, 32, 32), {"cycle_skip": False, "identity": 0.5}),
    ],
)
def test_replayed_steps_equal_steps(shape, options, device):
    options = CycleGanOptions(**{"cycle_steps": 8, "cycle_batch": 2, "cycle_width": 1} | options)
    case = images(7, shape), images(9, shape, 1), plan(shape), Context(device=device), options
    with one_by_one():
        plain = c.between(*case, name="transform")
    with taped(device) as tape:
        replayed = c.between(*case, name="transform")
    assert tape.replayed > 1
    for name, values in plain.items():
        np.testing.assert_array_equal(replayed[name], values)
