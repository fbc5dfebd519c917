"""What becomes of layers that mix the examples of a batch."""

import pytest
import torch
from privbench_dp.private_nets import private_net
from torch import nn

from privbench.errors import BadOption


def test_batch_norms_become_group_norms_wherever_they_are():
    net = nn.Sequential(
        nn.Conv2d(1, 64, 3), nn.BatchNorm2d(64), nn.Sequential(nn.BatchNorm2d(64, affine=False)), nn.Flatten()
    )
    net = private_net(net)
    assert not [module for module in net.modules() if "BatchNorm" in type(module).__name__]
    assert (net[1].num_groups, net[1].affine, net[2][0].affine) == (8, True, False)
    assert isinstance(private_net(nn.BatchNorm2d(16)), nn.GroupNorm)


@pytest.mark.parametrize("features", [7, 32, 48, 512])
def test_a_group_norm_of_plain_features_does_not_forget_its_input(features):
    net = private_net(nn.Sequential(nn.BatchNorm1d(features)))
    assert features % net[0].num_groups == 0
    x = torch.randn(4, features, generator=torch.Generator().manual_seed(0))
    assert net(x).detach().std() > 0.5
    together, alone = net(x), torch.cat([net(row[None]) for row in x])
    assert torch.allclose(together, alone, atol=1e-6)


def test_opacus_replaces_what_else_it_must():
    net = private_net(nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2)}))
    assert type(net["attention"]).__name__ == "DPMultiheadAttention"


def test_what_has_no_replacement_is_refused():
    net = nn.Sequential(nn.InstanceNorm1d(4, affine=True, track_running_stats=True), nn.Linear(4, 2)).eval()
    with pytest.raises(BadOption, match="cannot be trained privately"):
        private_net(net)
