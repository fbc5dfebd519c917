"""The classifier on an autoencoder's codes: whole when it is released, moved by no optimiser, open to inversion."""

import numpy as np
import pytest
import torch

from privbench.api import Blueprint, Context
from privbench.builtin.models import build as build_by_name
from privbench.builtin.models import dae
from privbench.builtin.tasks.digits import Digits
from privbench.errors import BadOption
from privbench.learn.optimisers import adam, sgd
from privbench.learn.training import train
from privbench.options.fields import build
from privbench.plugins.loading import resolve
from privbench.testing.tape import one_by_one, taped


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Few steps; encoders are kept for the life of a process, so each test has a task of its own."""
    monkeypatch.setattr(dae, "STEPS", 60)


def images(n=90, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (3, 6, 6, 1))
    return np.clip(centres[np.arange(n) % 3] + rng.normal(0, 20, (n, 6, 6, 1)), 0, 255).astype(np.uint8)


def test_it_is_the_same_every_time_and_touches_no_global_generator():
    torch.manual_seed(1)
    one = dae.pretrained(images(), 0)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after
    for layer, again, other in zip(one, dae.pretrained(images(), 0), dae.pretrained(images(), 1), strict=True):
        assert all(map(torch.equal, layer, again))
        assert not torch.equal(layer[0], other[0])
    assert [tuple(weight.shape) for weight, _ in one] == [(256, 36), (64, 256)]
    assert not any(tensor.requires_grad for layer in one for tensor in layer)


def test_a_layer_learns_to_restore_what_is_masked():
    x = torch.from_numpy(images().reshape(90, -1)).float() / 255
    x = (x - x.mean()) / x.std()
    torch.manual_seed(0)
    layer = [
        torch.randn(64, 36, requires_grad=True),
        torch.zeros(64, requires_grad=True),
        torch.zeros(36, requires_grad=True),
    ]
    optimiser = adam(layer)
    kept = (torch.rand(90, 36) >= dae.MASKED).float()
    losses = [float(dae.step(layer, optimiser, x, kept, 0.01)) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]


def test_a_step_runs_where_its_tensors_are():
    with torch.device("meta"):
        layer = [
            torch.empty(8, 36, requires_grad=True),
            torch.empty(8, requires_grad=True),
            torch.empty(36, requires_grad=True),
        ]
        loss = dae.step(layer, sgd(layer), torch.empty(5, 36), torch.empty(5, 36), 0.1)
    assert loss.device.type == "meta"


def test_training_leaves_the_encoder_and_the_release_has_it():
    task = build(Digits, {"preset": "dae", "epochs": "2", "weight_decay": "0.1", "limit": "500"})
    dataset = task.load()
    shape, classes = dataset.shape, dataset.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, build=lambda: task.network(shape, classes))
    model = train(blueprint, dataset.role("pool")[np.arange(100)], Context())
    state, encoder = model.state_dict(), task.network(shape, classes)[0].state_dict()
    assert len(encoder) == 4
    for name, tensor in encoder.items():
        torch.testing.assert_close(state[f"net.0.{name}"], tensor, rtol=0, atol=0)
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [(64, 64), (32, 64), (10, 32)]
    x = torch.rand(2, *shape, requires_grad=True)
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    assert slope.abs().sum() > 0


def test_the_encoder_sees_the_reference_examples_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(dae, "pretrained", lambda x, _seed: seen.append(x) or [(torch.zeros(4, 64), torch.zeros(4))])
    task = build(Digits, {"preset": "dae", "limit": "400"})
    dataset = task.load()
    task.network(dataset.shape, dataset.classes)
    task.network(dataset.shape, dataset.classes)
    assert len(seen) == 1  # once a process
    np.testing.assert_array_equal(seen[0], dataset.role("reference").x)


def test_the_presets_are_the_papers():
    for name in ("digits:preset=dae", "mnist:preset=dae", "fashion-mnist:preset=dae"):
        task = resolve("task", name)
        assert (task.model, task.hidden) == ("dae_mlp", (64, 32))


def test_it_is_not_built_without_data():
    with pytest.raises(BadOption, match="'dae_mlp' is built by a task"):
        build_by_name("dae_mlp", (1, 8, 8), 10)


def standardised_on(device, monkeypatch):
    """Have an encoder's inputs lie on a device, which moves its training there."""

    class There:
        def __init__(self, *_):
            pass

        def fit(self, x):
            pass

        def standardise(self, values):
            return values.to(device) - 0.5

    monkeypatch.setattr(dae, "Normalised", There)


def test_layers_are_trained_where_their_inputs_are(monkeypatch):
    """On a device without memory: a CPU tensor that strays into it raises. So does the look at the end."""
    seen, step = [], dae.step
    monkeypatch.setattr(dae, "step", lambda layer, *rest: seen.extend(layer) or step(layer, *rest))
    standardised_on("meta", monkeypatch)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta tensor"):
        dae.pretrained(images(), seed=1)
    assert len(seen) == 2 * 60 * 3
    assert all(tensor.is_meta for tensor in seen)


def test_replayed_steps_equal_steps(device, monkeypatch):
    """`pretrained` trains on the CPU; its layers can be trained anywhere."""
    standardised_on(device, monkeypatch)

    def trained():
        return [tensor.tolist() for layer in dae.pretrained(images(), seed=1) for tensor in layer]

    with one_by_one():
        plain = trained()
    with taped(device) as tape:
        assert trained() == plain
    assert tape.replayed > 0
    assert not tape.refused


def test_an_encoder_of_replayed_steps_is_the_same():
    plain = [tensor.tolist() for layer in dae.pretrained(images(), seed=1) for tensor in layer]
    with taped() as tape:
        assert [tensor.tolist() for layer in dae.pretrained(images(), seed=1) for tensor in layer] == plain
    assert tape.replayed > 0
