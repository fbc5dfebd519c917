"""Gradients per example, against torch's own of one example at a time."""

import pytest
import torch
from privbench_dp.gradients import HAVE, per_example_gradients
from privbench_dp.private_nets import private_net
from torch import nn
from torch.nn import functional

from privbench.builtin.models import NAMES, build
from privbench.errors import BadOption
from privbench.learn import Dropout


class InPlace(nn.Module):
    """Changes what its layers return in place, as torchvision's residual blocks do."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 8), nn.GroupNorm(2, 8), nn.Linear(8, 8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.norm(self.first(x)))
        out = self.second(x)
        out += x
        return functional.relu(out, inplace=True)


class Scaled(nn.Module):
    """Has weights of its own, and a rule neither of Opacus's nor of a plain layer."""

    def __init__(self, inner):
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.ones(6)), inner

    def forward(self, x):
        return self.inner(self.scale * x)


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def losses(outputs):
    return outputs.square().flatten(1).sum(dim=1)


def equal_to_torchs(net, x):
    for module in net.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    parameters = list(net.parameters())
    wanted = [torch.autograd.grad(losses(net(row[None])).sum(), parameters) for row in x]
    with per_example_gradients(net) as wrapped:
        losses(wrapped(x)).sum().backward()
        for place, parameter in enumerate(parameters):
            want = torch.stack([each[place] for each in wanted])
            torch.testing.assert_close(parameter.grad_sample, want, rtol=1e-3, atol=1e-4 * float(want.abs().max() + 1))
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())


@pytest.mark.parametrize(
    "make",
    [InPlace, lambda: Scaled(nn.Linear(6, 3)), lambda: nn.Sequential(nn.Linear(6, 6), Scaled(nn.ReLU(inplace=True)))],
)
def test_gradients_are_torchs_also_of_what_changes_in_place(make):
    equal_to_torchs(seeded(make), torch.randn(5, 6, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_model_has_them_or_is_refused_with_its_layer(name, shape):
    net = seeded(lambda: build(name, shape, 3))
    if name not in HAVE:
        assert name == "hivit_tiny"
        with pytest.raises(BadOption, match=r"HiViT.* has no gradients per example .*buffers.*; train .* mlp, cnn"):
            private_net(net)
        return
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    equal_to_torchs(seeded(lambda: private_net(net)), x)


def test_a_layer_that_cannot_be_computed_for_each_example_is_named():
    """Redone for each example, torch's own Dropout would draw other numbers than it drew."""
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 6), Scaled(nn.Dropout(0.5))))
    with per_example_gradients(net) as wrapped, pytest.raises(BadOption, match="layer '1', a Scaled, has no gradients"):
        losses(wrapped(torch.ones(2, 6))).sum().backward()


def test_a_refused_net_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(6, 6), Scaled(nn.InstanceNorm1d(6, track_running_stats=True)))
    with pytest.raises(BadOption, match="layer '1', a Scaled, has no gradients"), per_example_gradients(net):
        pass
    assert not any(module._forward_hooks for module in net.modules())
