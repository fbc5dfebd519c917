import numpy as np
import pytest

from privbench.api import Blueprint, Prepared, Recipe
from privbench.builtin.defenses.dp_critic import DPCritic
from privbench.builtin.defenses.relaxloss import RelaxLoss
from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.errors import BadOption, Diverged
from privbench.options.fields import build
from privbench.population.composition import chain
from privbench.testing import checks_for, toy_task
from privbench.testing.toy import blueprint as blueprint_of

TINY = {"gan_steps": 2, "gan_width": 4, "gan_batch": 4, "latent": 3, "code": 5}
Y = np.repeat(np.arange(3), [15, 4, 5])


def blueprint(shape=(1, 8, 8), classes=4):
    return Blueprint("t", Recipe(), shape, classes, lambda: None)


def members(dtype=np.uint8):
    x = np.random.default_rng(0).integers(0, 256, (len(Y), 8, 8, 1), dtype=np.uint8)
    return Examples(x if dtype == np.uint8 else x.astype(np.float32) / np.float32(255), Y)


def prepare(seed=0, dtype=np.uint8, **options):
    return DPCritic(**{**TINY, **options}).prepare(blueprint(), members(dtype), Context(seed))


def test_generated_examples_alone_are_trained_on_and_published_exact_per_class():
    made = prepare(ratio=2)
    assert isinstance(made, Prepared)
    np.testing.assert_array_equal(np.bincount(made.synthetic.y, minlength=4), [30, 8, 10, 0])  # none of an empty class
    np.testing.assert_array_equal(made.examples.x, made.synthetic.x)
    np.testing.assert_array_equal(made.examples.y, made.synthetic.y)
    assert made.synthetic.x.dtype == np.uint8
    assert made.synthetic.y.dtype == np.int64
    assert np.isfinite(list(made.facts.values())).all()
    assert made.notes["grid/generated"].shape == (4, 8, 8, 8, 1)
    np.testing.assert_array_equal(made.notes["grid/generated"][1], made.synthetic.x[30:38])


def test_floats_stay_floats_and_quantised():
    made = prepare(dtype=np.float32)
    assert made.examples.x.dtype == np.float32
    np.testing.assert_array_equal(made.examples.x, made.synthetic.x.astype(np.float32) / np.float32(255))


def test_a_seed_decides_every_bit():
    first, again, other = prepare().synthetic.x, prepare().synthetic.x, prepare(seed=1).synthetic.x
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("option", ["sigma", "clip", "gp_weight", "gan_average"])
def test_every_option_of_the_method_shapes_the_images(option):
    value = {"sigma": 0.0, "clip": 0.1, "gp_weight": 0.0, "gan_average": 0.0}[option]
    usual, changed = (prepare(gan_steps=4, gan_lr=0.1, **given).synthetic.x for given in ({}, {option: value}))
    assert (usual != changed).any()


def test_the_generator_is_kept_whatever_the_ratio():
    keys, kept = [], {}

    def keep(name, key, make, inner):
        keys.append((name, str(key)))
        if str(key) not in kept:
            kept[str(key)] = make(inner)
        return kept[str(key)]

    for ratio in (1, 3):
        DPCritic(**TINY, ratio=ratio).prepare(blueprint(), members(), Context(keep=keep))
    DPCritic(**TINY, clip=float("inf")).prepare(blueprint(), members(), Context(keep=keep))
    assert [name for name, _ in keys] == ["wgan-gp"] * 3
    assert len(kept) == 2


def test_tables_large_images_and_nothing_asked_for_are_errors_of_one_line():
    for shape, words in [((5,), "tables"), ((3, 65, 65), "up to 64")]:
        with pytest.raises(BadOption, match=words):
            DPCritic().prepare(blueprint(shape), members(), Context())
    with pytest.raises(BadOption, match="is none"):
        prepare(ratio=0.01)


def test_divergence_is_said():
    with pytest.raises(Diverged, match="gan_lr"):
        prepare(gan_lr=1e38, gan_steps=3)


def test_presets_and_infinity():
    plain = build(DPCritic, {"preset": "wgan-gp"})
    assert (plain.sigma, plain.clip) == (0.0, float("inf"))
    assert build(DPCritic, {"sigma": "0", "clip": "inf"}) == plain
    assert build(DPCritic, {"preset": "paper"}).n_critic == 5
    with pytest.raises(BadOption, match="clip"):
        build(DPCritic, {"clip": "0"})


def test_nowhere_does_it_call_itself_differentially_private():
    text = " ".join(DPCritic.__doc__.split())
    assert "regulariser" in text
    assert "not (epsilon, delta)-differentially private" in text
    assert not hasattr(DPCritic, "reuse")
    assert DPCritic().traits.from_members
    assert not DPCritic().traits.trains_on_members


@pytest.mark.parametrize("check", checks_for(DPCritic(**TINY)), ids=lambda check: check.name)
def test_keeps_the_contract(check):
    check.run()


def test_chains_with_a_training_stage():
    toy = toy_task()
    data = toy.load()
    release = chain([DPCritic(**TINY), RelaxLoss()]).fit(blueprint_of(toy, data), data.role("pool"), Context())
    assert len(release.synthetic) == len(data.role("pool"))
    assert "train_loss" in release.facts
    assert "diversity" in release.facts
