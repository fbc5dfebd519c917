"""Common layers of the larger image models: a first convolution, and an input field of pixels, for small images."""

from __future__ import annotations

from torch import nn

FIELD = 32
LARGE = 64


def stem(channels: int, filters: int, height: int, width: int) -> nn.Conv2d:
    """Return the 3x3 first convolution: stride 1 below 64 pixels, 2 from 64 pixels on (the shorter side).

    Stride 1 is the usual adaptation to 32 pixels; images of 64 pixels with stride 2 end in
    feature maps of the same size as images of 32 with stride 1, at the same cost.
    """
    stride = 1 if min(height, width) < LARGE else 2
    conv = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # torchvision's initialisation
    return conv


def field(side: int, multiple: int = 1) -> int:
    """Return the pixels along one side of the field: at least 32, and a multiple of `multiple`."""
    return -(-max(side, FIELD) // multiple) * multiple


def on_field(net: nn.Module, height: int, width: int, *, multiple: int = 1) -> nn.Module:
    """Return the network behind a zero padding that centres images on their field.

    Five halvings of an 8x8 image would leave single pixels from the third on, on which batch statistics are noise.
    """
    down, across = field(height, multiple) - height, field(width, multiple) - width
    if not (down or across):
        return net
    return nn.Sequential(nn.ZeroPad2d((across // 2, across - across // 2, down // 2, down - down // 2)), net)
