"""DP-VaeGM: a class's decoder knows its own class alone, and models see what is generated alone."""

import math

import numpy as np
import pytest
from privbench_dp.accounting import epsilon
from privbench_dp.dp_vaegm import DPVaeGM

from privbench.api import Blueprint, Context, Examples, Recipe
from privbench.errors import BadOption, DataError
from privbench.learn import mlp
from privbench.testing import parametrize_with_checks, resolve, toy_task

FAST = {"steps": 4, "width": 6}


@parametrize_with_checks(["defense:dp-vaegm:steps=3", "defense:dp-vaegm:steps=3+relaxloss"])
def test_contract(check):
    check()


@pytest.fixture(scope="module")
def toy():
    task = toy_task(noise=40)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint("toy", task.recipe, shape, classes, build=lambda: task.network(shape, classes))
    return blueprint, data.role("pool")[:24]


def decoders(task, members, seed=0, **options):
    """What is kept of each class: its decoder's weights, by the name under which they are kept."""
    kept = {}

    def keep(name, _key, make, inner):
        kept[name] = make(inner)
        return kept[name]

    prepared = DPVaeGM(**FAST, **options).prepare(task, members, Context(seed, keep=keep))
    return kept, prepared


def same(one, other):
    return all((one[name] == other[name]).all() for name in one)


@pytest.mark.parametrize("row", [0, 7])
def test_another_private_example_changes_the_decoder_of_its_own_class_alone(toy, row):
    task, members = toy
    x = members.x.copy()
    x[row] = 255 - x[row]
    before, generated = decoders(task, members)
    after, again = decoders(task, Examples(x, members.y))
    own = f"private autoencoder of class {members.y[row]}"
    assert {name for name in before if not same(before[name], after[name])} == {own}
    others = generated.synthetic.y != members.y[row]
    assert (generated.synthetic.x[others] == again.synthetic.x[others]).all()
    assert (generated.synthetic.x[~others] != again.synthetic.x[~others]).any()


def test_an_example_more_of_one_class_leaves_the_decoders_of_others_too(toy):
    task, members = toy
    more = Examples(np.concatenate([members.x, members.x[:1]]), np.concatenate([members.y, members.y[:1]]))
    before, _ = decoders(task, members)
    after, generated = decoders(task, more)
    changed = {name for name in before if not same(before[name], after[name])}
    assert changed == {f"private autoencoder of class {members.y[0]}"}
    assert (np.bincount(generated.synthetic.y) == np.bincount(more.y)).all()


def test_only_decoders_are_kept_and_only_generated_examples_published(toy):
    task, members = toy
    kept, prepared = decoders(task, members)
    assert {name for arrays in kept.values() for name in arrays} == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert prepared.examples.x.tobytes() == prepared.synthetic.x.tobytes()
    assert prepared.notes == {}
    private = {each.tobytes() for each in members.x}
    assert not private & {each.tobytes() for each in prepared.synthetic.x}


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_as_many_are_generated_as_were_asked_for(toy, ratio):
    task, members = toy
    _, prepared = decoders(task, members, ratio=ratio)
    assert np.bincount(prepared.synthetic.y).tolist() == [round(8 * ratio)] * 3
    assert prepared.synthetic.x.dtype == np.uint8
    assert prepared.synthetic.x.shape[1:] == members.x.shape[1:]


def test_classes_compose_in_parallel(toy):
    task, members = toy
    _, prepared = decoders(task, members, epsilon=3.0)
    facts = prepared.facts
    assert facts["epsilon"] == epsilon(facts["noise"], 0.5, 4, 1e-5)  # of one class: no factor for their number
    assert 2.9 < facts["epsilon"] <= 3.0
    assert facts["delta"] == 1e-5


def test_an_examples_total_loss_is_clipped_once(toy, monkeypatch):
    task, members = toy
    from privbench_dp import sgd

    norms, clipped_sum = [], sgd.clipped_sum

    def spy(gradients, clip, counts):
        sums, before = clipped_sum(gradients, clip, counts)
        norms.append((sum(float(each.square().sum()) for each in sums) ** 0.5, len(before), clip))
        return sums, before

    monkeypatch.setattr(sgd, "clipped_sum", spy)
    decoders(task, members, clip=0.25, rate=1.0)
    assert len(norms) == 3 * FAST["steps"]  # once a step and class, for both terms of the loss
    assert all(norm <= rows * clip * (1 + 1e-5) and clip == 0.25 for norm, rows, clip in norms)


def test_without_noise_what_is_generated_looks_like_its_class(toy):
    task, members = toy
    defense = DPVaeGM(epsilon=math.inf, steps=150, rate=1.0, clip=10.0, ratio=4.0)
    generated = defense.prepare(task, members, Context()).synthetic
    centres = np.stack([members.x[members.y == label].mean(axis=0) for label in range(3)])
    distances = np.square(generated.x[:, np.newaxis].astype(float) - centres).sum(axis=(2, 3, 4))
    assert (distances.argmin(axis=1) == generated.y).mean() > 0.9


def test_pixels_in_unit_floats_stay_so(toy):
    task, members = toy
    floats = Examples((members.x / 255).astype(np.float32), members.y)
    _, prepared = decoders(task, floats)
    assert prepared.examples.x.dtype == np.float32
    assert 0 <= prepared.examples.x.min() <= prepared.examples.x.max() <= 1
    assert prepared.synthetic.x.dtype == np.uint8


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    members, public = (Examples(rng.normal(5, 3, (n, 6)).astype(np.float32), np.arange(n) % 2) for n in (40, 30))
    recipe = Recipe(epochs=2, batch_size=8)
    return Blueprint("table", recipe, (6,), 2, build=lambda: mlp.build((6,), 2, (4,))), members, public


def test_tables_are_generated_about_the_mean_of_public_ones(table):
    task, members, public = table
    synthetic = DPVaeGM(**FAST, ratio=10).prepare(task, members, Context(validation=public)).synthetic
    assert synthetic.x.dtype == np.float32
    assert synthetic.x.shape == (400, 6)
    assert abs(float(synthetic.x.mean()) - 5) < 3


def test_tables_without_public_examples_are_refused(table):
    task, members, _ = table
    with pytest.raises(DataError, match="no validation examples"):
        DPVaeGM().prepare(task, members, Context())


def test_a_class_without_members_generates_nothing(toy):
    task, members = toy
    _, prepared = decoders(task, members[members.y != 1])
    assert set(prepared.synthetic.y.tolist()) == {0, 2}


def test_a_ratio_that_asks_for_nothing_is_refused(toy):
    task, members = toy
    with pytest.raises(BadOption, match="generates no example"):
        decoders(task, members, ratio=1e-3)


def test_it_stands_first_and_models_never_see_members():
    assert resolve("defense", "dp-vaegm+relaxloss").parts[0].traits.from_members
    assert not DPVaeGM.traits.trains_on_members
    with pytest.raises(BadOption, match="must stand first"):
        resolve("defense", "fake-data+dp-vaegm")
