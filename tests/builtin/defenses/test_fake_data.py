import numpy as np
import pytest

from privbench.api import Blueprint, Prepared, Recipe
from privbench.builtin.defenses.fake_data import FakeData
from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.errors import BadOption
from privbench.options.fields import build, spec

TINY = {"gan_steps": 3, "gan_width": 1, "gan_batch": 4, "latent": 3}
Y = np.repeat(np.arange(3), [15, 4, 5])


def blueprint(recipe=None):
    return Blueprint("t", recipe or Recipe(), (1, 8, 8), 3, lambda: None)


def members(dtype=np.uint8):
    x = np.random.default_rng(0).integers(0, 256, (len(Y), 8, 8, 1), dtype=np.uint8)
    return Examples(x if dtype == np.uint8 else x.astype(np.float32) / np.float32(255), Y)


def prepare(recipe=None, dtype=np.uint8, **options):
    return FakeData(**TINY, **options).prepare(blueprint(recipe), members(dtype), Context())


def test_real_and_generated_examples_are_trained_on_and_the_generated_are_published():
    made = prepare(ratio=2)
    assert isinstance(made, Prepared)
    assert len(made.synthetic) == 2 * len(Y)
    np.testing.assert_array_equal(np.bincount(made.synthetic.y), 2 * np.bincount(Y))
    np.testing.assert_array_equal(made.examples.x, np.concatenate([members().x, made.synthetic.x]))
    np.testing.assert_array_equal(made.examples.y, np.concatenate([Y, made.synthetic.y]))
    assert made.examples.augment is None
    assert made.synthetic.x.dtype == np.uint8


def test_the_record_says_whether_it_collapsed_and_a_grid_is_kept():
    made = prepare()
    assert set(made.facts) == {"diversity", "collapsed_classes", "copies", "nearest_member"}
    shown = made.notes["grid/generated"]
    assert (shown.shape, shown.dtype) == ((3, 8, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(shown[1, :2], made.synthetic.x[made.synthetic.y == 1][:2])


def test_generated_examples_alone():
    made = prepare(only=True)
    np.testing.assert_array_equal(made.examples.x, made.synthetic.x)


def test_generated_examples_join_floats_as_floats_and_stay_quantised():
    made = prepare(dtype=np.float32)
    assert made.examples.x.dtype == np.float32
    assert made.synthetic.x.dtype == np.uint8
    levels = made.examples.x[len(Y) :] * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)


@pytest.mark.parametrize(("augment", "real", "fake"), [("real", True, False), ("fake", False, True)])
def test_augmentation_may_be_of_one_source(augment, real, fake):
    mask = prepare(Recipe(crop=1), augment=augment).examples.augment
    np.testing.assert_array_equal(mask, np.repeat([real, fake], len(Y)))
    assert prepare(Recipe(crop=1)).examples.augment is None


def test_augmenting_generated_examples_alone():
    assert prepare(Recipe(crop=1), augment="fake", only=True).examples.augment.all()


def test_a_choice_without_effect_is_refused():
    for augment in ("real", "fake"):
        with pytest.raises(BadOption, match=f"augment={augment} has no effect"):
            prepare(augment=augment)
    with pytest.raises(BadOption, match="no real example to augment"):
        prepare(Recipe(flip=0.5), augment="real", only=True)


def test_shadows_may_reuse_what_was_released():
    task, own = blueprint(Recipe(flip=0.5)), members()
    released = prepare().synthetic
    reused = FakeData(augment="fake").reuse(task, own, released, Context())
    np.testing.assert_array_equal(reused.x, np.concatenate([own.x, released.x]))
    np.testing.assert_array_equal(reused.augment, np.repeat([False, True], len(Y)))
    assert FakeData().traits.trains_on_members
    assert not FakeData(only=True).traits.trains_on_members


def test_the_paper_s_settings_are_a_preset():
    defense = build(FakeData, {"preset": "paper", "ratio": "4"})
    assert (defense.gan_steps, defense.d_steps, defense.gan_width, defense.latent) == (125_000, 2, 64, 128)
    assert (defense.ema, defense.ema_start, defense.gan_lr, defense.ratio) == (0.9999, 10_000, 2e-4, 4)
    assert spec(FakeData(ratio=2, only=True)) == "fake-data:ratio=2.0,only=true"
    assert defense.traits.from_members
    with pytest.raises(BadOption, match="ratio"):
        build(FakeData, {"ratio": "0"})
