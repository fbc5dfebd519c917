"""DP-AuGM: only the encoder and the classifier are released, and only the encoder knows the members."""

import math

import numpy as np
import pytest
import torch
from privbench_dp.accounting import epsilon
from privbench_dp.dp_augm import DPAuGM

from privbench.api import Blueprint, Context, Examples, Recipe
from privbench.errors import DataError
from privbench.learn import mlp
from privbench.testing import parametrize_with_checks, toy_task

FAST = {"steps": 4, "code": 6, "width": 5, "head_width": 7}


@parametrize_with_checks(["defense:dp-augm:steps=3,width=8,code=4"])
def test_contract(check):
    check()


@pytest.fixture(scope="module")
def toy():
    task = toy_task(noise=40)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint("toy", task.recipe, shape, classes, build=lambda: task.network(shape, classes))
    return blueprint, data.role("pool")[:24], data.role("validation")


def weights(release, prefix=""):
    return {name: each.clone() for name, each in release.model.state_dict().items() if name.startswith(prefix)}


def same(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_released_are_the_encoder_and_the_classifier_and_no_decoder(toy):
    task, members, public = toy
    release = DPAuGM(**FAST).fit(task, members, Context(validation=public))
    assert {name.rpartition(".")[0] for name in weights(release)} == {
        "", "net.encoder.1", "net.encoder.3", "net.head.0", "net.head.2"
    }  # fmt: skip
    assert release.notes == {}
    assert release.synthetic is None
    assert release.model.net.encoder(torch.rand(2, 1, 8, 8)).shape == (2, 6)


def test_the_encoder_is_frozen_while_the_classifier_learns(toy):
    task, members, public = toy
    stored = {}

    def keep(name, _key, make, inner):
        stored[name] = make(inner)
        return stored[name]

    release = DPAuGM(**FAST).fit(task, members, Context(validation=public, keep=keep))
    (kept,) = stored.values()
    released = weights(release, "net.encoder.")
    assert {name.removeprefix("net.encoder."): each.numpy().tolist() for name, each in released.items()} == {
        name: array.tolist() for name, array in kept.items()
    }


def test_private_labels_are_never_used(toy):
    task, members, public = toy
    other = Examples(members.x, (members.y + 1) % task.classes)
    one, two = (DPAuGM(**FAST).fit(task, each, Context(validation=public)) for each in (members, other))
    assert same(weights(one), weights(two))


def test_private_inputs_shape_the_encoder_and_public_ones_the_statistics(toy):
    task, members, public = toy
    one = DPAuGM(**FAST).fit(task, members, Context(validation=public))
    two = DPAuGM(**FAST).fit(task, Examples(255 - members.x, members.y), Context(validation=public))
    assert not same(weights(one, "net.encoder."), weights(two, "net.encoder."))
    for release in (one, two):
        assert float(release.model.mean) == pytest.approx(public.x.mean() / 255, rel=1e-5)
        assert float(release.model.std) == pytest.approx(public.x.std() / 255, rel=1e-4)


def test_without_noise_the_autoencoder_learns(toy):
    task, members, public = toy
    from privbench_dp import dp_augm

    with_codes = DPAuGM(epsilon=math.inf, steps=150, rate=1.0, code=16, width=32)
    trained = dp_augm.train_encoder(with_codes, task.shape, members, public, Context(), noise=0.0)
    idle = DPAuGM(epsilon=math.inf, steps=1, rate=1.0, lr=1e-9, code=16, width=32)
    untrained = dp_augm.train_encoder(idle, task.shape, members, public, Context(), noise=0.0)
    inputs = torch.from_numpy(members.x).permute(0, 3, 1, 2).float() / 255
    inputs = (inputs - public.x.mean() / 255) / (public.x.std() / 255)

    def unexplained(arrays):
        from privbench_dp import autoencoders

        encoder = autoencoders.encoder(task.shape, 32, 16)
        encoder.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        with torch.no_grad():
            codes = torch.cat([encoder(inputs)[:, :4], torch.ones(len(inputs), 1)], dim=1)
        fitted = codes @ torch.linalg.lstsq(codes, inputs.flatten(1)).solution
        return float((fitted - inputs.flatten(1)).square().mean())

    assert unexplained(trained) < unexplained(untrained)


def test_facts_are_those_of_the_accountant(toy):
    task, members, public = toy
    facts = DPAuGM(**FAST, epsilon=2.0).fit(task, members, Context(validation=public)).facts
    assert facts["epsilon"] == epsilon(facts["noise"], 0.25, 4, 1e-5)
    assert 1.9 < facts["epsilon"] <= 2.0
    assert facts["public_examples"] == len(public)
    assert math.isinf(DPAuGM(**FAST, epsilon=math.inf).fit(task, members, Context(validation=public)).facts["epsilon"])


def test_tables_are_encoded_too():
    rng = np.random.default_rng(0)
    members, public = (Examples(rng.normal(5, 3, (n, 6)).astype(np.float32), np.arange(n) % 2) for n in (20, 10))
    task = Blueprint("table", Recipe(epochs=2, batch_size=8), (6,), 2, build=lambda: mlp.build((6,), 2, (4,)))
    release = DPAuGM(**FAST).fit(task, members, Context(validation=public))
    assert release.model(torch.from_numpy(members.x)).shape == (20, 2)


def test_without_public_examples_there_is_nothing_to_classify(toy):
    task, members, _ = toy
    with pytest.raises(DataError, match="no validation examples"):
        DPAuGM().fit(task, members, Context())
