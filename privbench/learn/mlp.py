"""Multi-layer perceptron for tables, and for images as rows of pixels."""

from __future__ import annotations

import itertools
import math

from torch import nn


def build(shape: tuple[int, ...], classes: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Return Linear-ReLU for each hidden size, then a Linear layer to the logits.

    (1000, 300) is the inversion target of Triastcyn & Faltings (2018).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for wide, narrow in itertools.pairwise((math.prod(shape), *hidden)):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else math.prod(shape), classes))
