import pytest
import torch
from privbench_defenses.features import Penultimate
from torch import nn

from privbench.builtin import models
from privbench.errors import BadOption
from privbench.learn import Normalised

WIDTHS = {"mlp": 256, "cnn": 128, "mobilenet_v3_small": 1024, "resnet18": 512, "hivit_tiny": 384}


def released(name, shape):
    torch.manual_seed(0)
    return Normalised(models.build(name, shape, 7), shape)


@pytest.mark.parametrize("name", WIDTHS)
def test_features_of_every_model(name):
    model, x = released(name, (1, 8, 8)).eval(), torch.rand(2, 1, 8, 8)
    penultimate = Penultimate()
    for _ in range(2):  # the second pass watches only the layer that was found
        logits, features = penultimate(model, x)
        assert features.shape == (2, WIDTHS[name])
        torch.testing.assert_close(logits, model(x))
        torch.testing.assert_close(penultimate.layer(features), logits)
    assert not any(module._forward_hooks for module in model.modules())


def test_features_of_a_table():
    logits, features = Penultimate()(released("mlp", (5,)), torch.rand(3, 5))
    assert (logits.shape, features.shape) == ((3, 7), (3, 256))


def test_the_layer_that_answers_counts_not_the_one_that_was_made_last():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body = nn.Linear(4, 3), nn.Linear(2, 4)

        def forward(self, x):
            return self.head(self.body(x).relu())

    model, penultimate = Backwards(), Penultimate()
    _, features = penultimate(model, torch.rand(5, 2))
    assert penultimate.layer is model.head
    assert (features >= 0).all()


def test_gradients_reach_what_makes_the_features():
    model = released("mlp", (5,))
    _, features = Penultimate()(model, torch.rand(3, 5))
    features.sum().backward()
    assert model.net[1].weight.grad.abs().sum() > 0
    assert model.net[-1].weight.grad is None


@pytest.mark.parametrize("tail", [nn.Softplus(), nn.Conv1d(1, 1, 1)])
def test_a_model_that_does_not_end_in_a_linear_layer(tail):
    model = nn.Sequential(nn.Linear(2, 3), nn.Unflatten(1, (1, 3)), tail, nn.Flatten())
    with pytest.raises(BadOption, match=r"not that of an nn\.Linear"):
        Penultimate()(model, torch.rand(2, 2))
    assert not model[0]._forward_hooks


def test_hooks_are_gone_after_a_failure():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 3))
    with pytest.raises(RuntimeError):
        Penultimate()(model, torch.rand(2, 2))
    assert not any(module._forward_hooks for module in model.modules())
