import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.api import Blueprint, Recipe
from privbench.builtin.generative.tac_gan import CHUNK, TacGanOptions, fakes, per_class, train
from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.errors import BadOption, Diverged
from privbench.testing.tape import one_by_one, taped

TINY = {"gan_steps": 3, "gan_width": 1, "gan_batch": 4, "latent": 3}


def blueprint(shape, classes=4):
    return Blueprint("t", Recipe(), shape, classes, lambda: None)


def members(shape=(1, 8, 8), y=(0, 0, 0, 1, 1, 3)):
    channels, height, width = shape
    x = np.random.default_rng(0).integers(0, 256, (len(y), height, width, channels), dtype=np.uint8)
    return Examples(x, np.array(y))


def make(shape=(1, 8, 8), ctx=None, data=None, **options):
    return fakes(
        blueprint(shape), data or members(shape), ctx or Context(), TacGanOptions(**TINY | options), "fake-data"
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 40, 64), (1, 7, 5)])
def test_generated_images_are_shaped_and_quantised_as_the_members(shape):
    made = make(shape)
    assert made.x.shape == (6, *shape[1:], shape[0])
    assert made.x.dtype == np.uint8
    assert made.x.std() > 0
    np.testing.assert_array_equal(made.y, [0, 0, 0, 1, 1, 3])
    assert made.y.dtype == np.int64


def test_a_class_without_members_gets_none():
    np.testing.assert_array_equal(np.bincount(make(ratio=4).y, minlength=4), [12, 8, 0, 4])


def test_the_same_seed_gives_the_same_bits_in_every_stage():
    first = make(ctx=Context(seed=1).stage("fake-data"))
    again = make(ctx=Context(seed=1).stage("transform", 3))
    other = make(ctx=Context(seed=2))
    np.testing.assert_array_equal(first.x, again.x)
    assert (first.x != other.x).any()


def test_members_as_bytes_and_floats_make_the_same():
    given_bytes = members()
    floats = Examples(given_bytes.x.astype(np.float32) / np.float32(255), given_bytes.y)
    # From [0, 1] the last bit of [-1, 1] may differ.
    assert np.abs(make(data=floats).x.astype(int) - make().x).max() <= 1


class Kept:
    """A store in memory."""

    def __init__(self):
        self.held = {}

    def __call__(self, name, key, compute, inner):
        place = repr((name, sorted(key.items())))
        if place not in self.held:
            self.held[place] = compute(inner)
        return self.held[place]


def test_one_training_serves_every_ratio_and_a_larger_one_only_adds():
    kept = Kept()
    ctx = Context(keep=kept)
    once, twice = make(ctx=ctx), make(ctx=ctx, ratio=2)
    assert len(kept.held) == 1
    for label, n in ((0, 3), (1, 2), (3, 1)):
        # Another batch may round the other way.
        assert np.abs(twice.x[twice.y == label][:n].astype(int) - once.x[once.y == label]).max() <= 1
    make(ctx=ctx, gan_steps=4)
    make(ctx=ctx, gan_loss="ac-gan")
    assert len(kept.held) == 3


def test_every_option_but_the_ratio_makes_another_gan():
    kept = Kept()
    changed = {
        "gan_loss": "ac-gan", "gan_steps": 4, "gan_width": 2, "gan_batch": 5, "gan_lr": 0.01, "d_steps": 2,
        "lambda_c": 2.0, "ema": 0.5, "ema_start": 1, "latent": 5,
    }  # fmt: skip
    assert {each.name for each in dataclasses.fields(TacGanOptions)} == {"ratio", *changed}
    made = [make(ctx=Context(keep=kept))]
    made += [make(ctx=Context(keep=kept), **{"ema_start": 0, name: value}) for name, value in changed.items()]
    assert len(kept.held) == len(made)


def test_more_classes_make_another_gan():
    kept = Kept()
    for classes in (4, 5):
        fakes(blueprint((1, 8, 8), classes), members(), Context(keep=kept), TacGanOptions(**TINY), "fake-data")
    assert len(kept.held) == 2


def test_progress_ends_within_its_share():
    seen = []
    ctx = Context(report=lambda done, _: seen.append(done))
    fakes(blueprint((1, 8, 8)), members(), ctx, TacGanOptions(**TINY), "fake-data", share=(0.0, 0.5))
    assert seen[-1] == 0.5


def test_what_cannot_be_is_refused():
    table = Examples(np.zeros((4, 3), dtype=np.float32), np.array([0, 1, 0, 1]))
    with pytest.raises(BadOption, match="fake-data"):
        fakes(blueprint((3,)), table, Context(), TacGanOptions(), "fake-data")
    with pytest.raises(BadOption, match=r"ratio=0\.01 of 6 examples is none"):
        make(ratio=0.01)
    with pytest.raises(Diverged, match="gan_lr"):
        make(gan_lr=1e38)


@given(
    counts=st.lists(st.integers(0, 300), min_size=1, max_size=12),
    hundredths=st.integers(1, 500),
)
def test_ratio_is_exact(counts, hundredths):
    ratio = hundredths / 100
    made = per_class(np.repeat(np.arange(len(counts)), counts), len(counts), ratio)
    exact = [hundredths * count for count in counts]  # in hundredths
    assert made.sum() == (2 * sum(exact) + 100) // 200
    assert all(abs(100 * int(n) - each) < 100 for n, each in zip(made, exact, strict=True))
    assert all(n == 0 for n, count in zip(made, counts, strict=True) if count == 0)
    if hundredths % 100 == 0:
        assert made.tolist() == [hundredths // 100 * count for count in counts]


def test_remainders_by_hand():
    y = np.repeat([0, 1, 2], [3, 3, 4])
    assert per_class(y, 3, 0.5).tolist() == [2, 1, 2]  # 1.5, 1.5 and 2: five in all
    assert per_class(y, 3, 0.1).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 8, 8), {}),
        ((3, 8, 8), {"gan_loss": "ac-gan"}),
        ((1, 8, 8), {"d_steps": 3}),
        ((1, 8, 8), {"lambda_c": 0.0}),
        ((1, 8, 8), {"ema": 0.0}),
        ((1, 8, 8), {"ema_start": 0}),
        ((1, 8, 8), {"gan_steps": CHUNK + 3, "ema_start": CHUNK + 1}),
        ((1, 28, 28), {}),
        ((3, 32, 32), {"d_steps": 2, "gan_loss": "ac-gan"}),
    ],
)
def test_replayed_steps_equal_steps(shape, options, device):
    options = TacGanOptions(**TINY | {"gan_steps": 8, "ema_start": 5} | options)
    case = blueprint(shape), members(shape), Context(device=device), options, 8 if shape[1] == 8 else 32
    with one_by_one():
        plain = train(*case)
    with taped(device) as tape:
        replayed = train(*case)
    assert tape.replayed > 1
    for name, values in plain.items():
        np.testing.assert_array_equal(replayed[name], values)
