"""Small convolutional network: the student of Triastcyn & Faltings (2018).

Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, 2018 (1803.03148).
"""

from __future__ import annotations

from torch import nn

from privbench.errors import BadOption

SMALLEST = 4  # two halvings leave one pixel


def build(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return 2 x (conv-ReLU-BN-maxpool), then 2 x (FC-ReLU), then the logits; for images from 4x4 pixels.

    The paper states the layers but not their widths; 32 and 64 filters of 3x3, 256 and 128 units are ours.
    Raises BadOption for smaller images.
    """
    channels, height, width = shape
    if min(height, width) < SMALLEST:
        raise BadOption(f"model 'cnn' needs images of at least 4x4 pixels, not {height}x{width}; 'mlp' takes any size.")
    return nn.Sequential(
        *_halve(channels, 32),
        *_halve(32, 64),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def _halve(channels: int, filters: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(filters), nn.MaxPool2d(2)]
