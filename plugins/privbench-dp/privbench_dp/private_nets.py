"""Networks for differentially private training, whose layers do not mix the examples of a batch."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from privbench.errors import BadOption

GROUPS = 32
CHANNELS = 8
"""The fewest channels in a group: the 32 groups that Opacus makes of 32 features would each hold one number, and its
standardisation is 0 whatever the number was."""


def private_net(net: nn.Module) -> nn.Module:
    """Return a net with GroupNorm for BatchNorm, and Opacus's own layers for what else it cannot train as it is.

    Raises BadOption for a layer that has no replacement, or no gradients per example.
    """
    from opacus.validators import ModuleValidator
    from opacus.validators.errors import UnsupportedModuleError

    from privbench_dp.gradients import per_example_gradients

    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _group_norm(child))
    try:
        fixed: nn.Module = ModuleValidator.fix_and_validate(_group_norm(net) if isinstance(net, _BatchNorm) else net)
    except UnsupportedModuleError as error:
        told = " ".join(str(error).split())
        raise BadOption(f"This model cannot be trained privately: {told}") from error
    with per_example_gradients(fixed):
        return fixed


def _group_norm(norm: _BatchNorm) -> nn.GroupNorm:
    """Return a GroupNorm (Wu & He 2018) of the same channels, in up to 32 groups of 8 channels or more."""
    most = max(1, min(GROUPS, norm.num_features // CHANNELS))
    groups = max(count for count in range(1, most + 1) if norm.num_features % count == 0)
    return nn.GroupNorm(groups, norm.num_features, eps=norm.eps, affine=norm.affine)
