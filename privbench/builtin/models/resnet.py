"""ResNet-18, adapted to small images."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet18

from privbench.builtin.models.stem import on_field, stem


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return torchvision's ResNet-18 with a 3x3 stem and no max-pool; images of any size, below 32 pixels padded.

    About 11.2 million parameters. The stem's stride is 1 below 64 pixels and 2 from there on.
    """
    channels, height, width = shape
    net = resnet18(weights=None, num_classes=classes)
    net.conv1 = stem(channels, 64, height, width)
    net.maxpool = nn.Identity()
    return on_field(net, height, width)
