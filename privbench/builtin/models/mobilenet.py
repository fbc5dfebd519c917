"""MobileNetV3-Small, adapted to small images."""

from __future__ import annotations

from torch import nn
from torchvision.models import mobilenet_v3_small

from privbench.builtin.models.stem import on_field, stem
from privbench.learn import Dropout


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return torchvision's MobileNetV3-Small with a modified stem; images of any size, below 32 pixels padded.

    The stem supports grey images too, and its stride is 1 below 64 pixels, so that 32x32 ends in a 2x2 map. Batch norm
    has torch's defaults, as in the CRL authors' CIFAR code: torchvision's running averages (momentum 0.01) are meant
    for ImageNet's long epochs and lag behind in a few hundred steps.
    """
    channels, height, width = shape
    net = mobilenet_v3_small(weights=None, num_classes=classes, norm_layer=nn.BatchNorm2d)
    net.classifier[2] = Dropout(0.2)  # torchvision's dropout uses torch's global generator
    net.features[0][0] = stem(channels, 16, height, width)
    return on_field(net, height, width)
