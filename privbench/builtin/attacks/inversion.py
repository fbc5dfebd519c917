"""Model inversion: images that resemble the training data of a class, reconstructed from the trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import Needs, component, option
from privbench.errors import CellFailed

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.aliases import Array
    from privbench.api import Evidence
    from privbench.builtin.attacks.mi_face import BlackBox

IMAGE_DIMENSIONS = 3
SHADES = (0.0, 0.5)
"""Levels of the first two starts: black, as in the paper, and grey."""
GRID = 4
"""Side of the grid of random shades from which the other starts are interpolated; noise would stay noise."""
CHUNK = 256
"""Rows (a class and a start each) per batch. More would not be faster, and networks for images need memory."""


@dataclass(frozen=True)
class Inverted:
    """The result of an inversion for each class, from the best of its starts."""

    images: Array
    """(classes, height, width, channels) float32 in [0, 1]."""
    confidence: Array
    """(classes,) float64: the target's p_c for these images."""
    queries: int
    """Number of queries to the target; a white-box gradient counts as one."""


@component
class Inversion:
    """Gradient descent in [0, 1] from several starts to an image that the target assigns to a class with confidence.

    Of the starts of each class the first is black, the second grey, the others are random. A descent ends after alpha
    steps, when p_c >= gamma, or when the cost has not fallen for beta steps; the best image on the path counts.

    Differences from the paper by default: it minimises log(1 / p_c) instead of 1 - p_c. The two gradients differ by the
    factor p_c, which vanishes where the target is certain of another class, so that 1 - p_c makes no progress and a
    target that is merely overconfident would look safe. A total variation prior, which also counts in the choice of the
    start, replaces the paper's auxiliary term; without it the image with the highest confidence is often noise.
    `preset=paper` is the setting of the paper: 1 - p_c, up to 5000 steps from one start, black, and no prior; its
    Process step, designed for the authors' autoencoder, is omitted.
    """

    name: ClassVar[str] = "inversion"
    paper: ClassVar[str] = (
        "Fredrikson, Jha, Ristenpart: Model Inversion Attacks that Exploit Confidence Information and Basic "
        "Countermeasures, CCS 2015 (Algorithm 1, MI-Face)"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "alpha": 5000,
            "beta": 100,
            "gamma": 0.99,
            "lr": 0.1,
            "loss": "confidence",
            "restarts": 1,
            "tv": 0.0,
            "differences": "pixels",
        },
    }

    access: Literal["white-box", "black-box"] = option(
        "white-box", "gradients of the model, or finite differences of predictions"
    )
    loss: Literal["cross-entropy", "confidence"] = option("cross-entropy", "minimise -log p_c, or the paper's 1 - p_c")
    alpha: int = option(1000, "maximum number of steps of a descent", ge=1)
    beta: int = option(100, "steps without a lower cost that end a descent", ge=1)
    gamma: float = option(0.99, "a confidence p_c that ends a descent", gt=0, le=1)
    lr: float = option(0.1, "step size: x - lr * gradient, in [0, 1]", gt=0)
    restarts: int = option(8, "starts per class: black, grey, then random ones", ge=1)
    tv: float = option(0.001, "weight of the total variation, summed over pixels, in the cost", ge=0)
    differences: Literal["random", "pixels"] = option(
        "random", "black box: along random directions, or along each pixel (twice as many queries per step as pixels)"
    )
    directions: int = option(32, "black box: random directions per step, two queries each", ge=1)
    radius: float = option(0.01, "black box: distance of queries from x", gt=0, le=0.5)

    @property
    def needs(self) -> Needs:
        """The model, or queries of the attacker's choice."""
        return Needs(answers="none", model=True) if self.access == "white-box" else Needs(query=True)

    def reconstruct(self, evidence: Evidence, classes: Array) -> Array:
        """Return (len(classes), height, width, channels) float32 in [0, 1]. Raises CellFailed for tables."""
        return self.invert(evidence, classes).images

    def invert(self, evidence: Evidence, classes: Array) -> Inverted:
        """Return the images, their confidences, and the number of queries. Raises CellFailed for tables."""
        import torch

        from privbench.builtin.attacks import mi_face

        if len(evidence.input_shape) != IMAGE_DIMENSIONS:
            raise CellFailed(f"inversion makes images, but this task's inputs are {_text(evidence.input_shape)}.")
        labels = np.repeat(np.asarray(classes, dtype=np.int64), self.restarts)
        starts = np.concatenate([self._starts(evidence, int(label)) for label in classes])
        model = evidence.model if self.access == "white-box" else None
        how = mi_face.Descent(self.alpha, self.beta, self.gamma, self.lr, self.loss, self.tv)
        ended, queries = [], 0
        for i in range(0, len(labels), CHUNK):
            slope = self._black_box(evidence) if model is None else mi_face.WhiteBox(model, self.loss)
            x, label = torch.from_numpy(starts[i : i + CHUNK]), torch.from_numpy(labels[i : i + CHUNK])
            with mi_face.lent(model) as device:
                rows = mi_face.descend(slope, mi_face.start(x.to(device), label.to(device)), how)
            ended.append([each.cpu().numpy() for each in (rows.best, rows.cost, rows.log_p)])
            queries += slope.queries
        best, cost, log_p = (np.concatenate(each) for each in zip(*ended, strict=True))
        chosen = cost.reshape(-1, self.restarts).argmin(axis=1) + self.restarts * np.arange(len(classes))
        images = np.ascontiguousarray(best[chosen].transpose(0, 2, 3, 1))
        return Inverted(images, np.exp(log_p[chosen].astype(np.float64)), queries)

    def _starts(self, evidence: Evidence, label: int) -> Array:
        """Return (restarts, channels, height, width) float32; they depend only on the class."""
        height, width, channels = evidence.input_shape
        rng = evidence.rng(f"starts of class {label}")
        shades = rng.random((self.restarts, channels, GRID, GRID))
        shades[:2] = np.array(SHADES)[: self.restarts, None, None, None]
        down, across = _between(height), _between(width)
        smooth: Array = down @ shades @ across.T
        return smooth.astype(np.float32).clip(0, 1)

    def _black_box(self, evidence: Evidence) -> BlackBox:
        import torch

        from privbench.builtin.attacks.mi_face import BlackBox

        height, width, channels = evidence.input_shape
        rng, shape = evidence.rng("directions"), (self.directions, channels, height, width)

        def query(x: Tensor) -> Tensor:
            return torch.from_numpy(evidence.query(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())))

        def draw() -> Tensor:
            return torch.from_numpy(rng.integers(0, 2, shape, dtype=np.int8)).float() * 2 - 1

        return BlackBox(query, self.loss, self.radius, draw if self.differences == "random" else None)


def _between(pixels: int) -> Array:
    """Return (pixels, GRID): the weights of linear interpolation between the points of a grid, from end to end."""
    place = np.linspace(0, GRID - 1, pixels)[:, None]
    weights: Array = np.maximum(0, 1 - np.abs(place - np.arange(GRID)))
    return weights


def _text(shape: tuple[int, ...]) -> str:
    return f"tables of {shape[0]} features" if len(shape) == 1 else f"of shape {shape}"
