"""Feature spaces for distances between examples: fixed maps to vectors, without downloads.

pixels   an image's pixels in [-1, 1], flattened (the space of GAN-Leaks); a table's row, its columns standardised
pca      the first principal components of those
encoder  the first principal components of an untrained convolutional network's activations; for tables the same as pca

The principal components, and the scale of a table's columns, are computed from public examples, never from members.
Without scaling, the column with the largest numbers dominates distances between rows.

Triastcyn & Faltings (2018) and papers on GANs use Inception-v3, whose weights are a download of 100 MB and were fitted
to photographs. An untrained network does not favour any data set, but it represents texture rather than meaning. A
number from `encoder` is therefore never given a paper's name alone: a Frechet distance is `FID-enc`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as options

from privbench.contracts.needs import Needs
from privbench.data.dataset import IMAGE_DIMENSIONS, Examples
from privbench.errors import CellFailed
from privbench.options.fields import option
from privbench.seeds import numpy_generator
from privbench.stats.neighbours import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence

Space: TypeAlias = Literal["pixels", "pca", "encoder"]

DIMENSIONS = 64
FITTED_ON = 4096
"""Maximum number of examples for principal components, evenly spaced; more only take longer."""
BATCH = 256
WIDTHS = (32, 64, 128)
POOLED = (4, 2, 1)
"""Side of the grid over which each level's activations are averaged: 4 x 4 x 32 + 2 x 2 x 64 + 128 = 896 features."""
SLOPE = 0.2


@dataclass(frozen=True, eq=False)
class Encoder:
    """Maps inputs (n, ...) as in `Examples.x` to features (n, d): float32 for pixels, else float64."""

    name: Space
    raw: Callable[[Array], Array]
    mean: Array | None = None
    axes: Array | None = None
    """(d, raw features): projection of the centred raw features; None for the raw features themselves."""

    def __call__(self, x: Array) -> Array:
        """Return the features of inputs, a batch at a time."""
        if self.axes is None:
            return self.raw(x)
        out = np.empty((len(x), len(self.axes)))
        for start in range(0, len(x), BATCH):
            rows = slice(start, start + BATCH)
            out[rows] = (self.raw(x[rows]) - self.mean) @ self.axes.T
        return out


def fit_encoder(
    name: Space,
    reference: Examples,
    dimensions: int = DIMENSIONS,
    device: str = "cpu",
    *,
    published: Array | None = None,
) -> Encoder:
    """Return the map of a space.

    reference: public examples for principal components and scales; not used for `pixels` of images
    dimensions: maximum number of components; fewer if there are too few examples
    device: of the network of `encoder`
    published: synthetic inputs, which scale the columns of a table that are constant in the reference

    The same examples give the same map.
    """
    raw: Callable[[Array], Array] = pixels
    if not reference.is_image:
        raw = standardised(reference.x, published)
    elif name == "encoder":
        raw = RandomNet(reference.x.shape[-1], device)
    if name == "pixels":
        return Encoder(name, raw)
    step = np.linspace(0, len(reference) - 1, min(FITTED_ON, len(reference))).round().astype(int)
    rows = raw(reference.x[step]).astype(np.float64)
    mean = rows.mean(axis=0)
    return Encoder(name, raw, mean, _axes(rows - mean, dimensions))


def standardised(reference: Array, published: Array | None = None) -> Callable[[Array], Array]:
    """Return a map from rows of a table to float32 rows whose columns have mean 0 and deviation 1 in the reference.

    A column that is constant there is scaled by the published rows as well; one that is constant in both is not scaled.
    Means and deviations are computed in float64.
    """
    rows = reference.astype(np.float64)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    constant = _negligible(scale, mean)
    if published is not None and constant.any():
        scale[constant] = np.concatenate([rows, published])[:, constant].astype(np.float64).std(axis=0)
        constant = _negligible(scale, mean)
    scale[constant] = 1.0

    def encode(x: Array) -> Array:
        rows: Array = ((x.astype(np.float64) - mean) / scale).astype(np.float32)
        return rows

    return encode


def _negligible(scale: Array, mean: Array) -> Array:
    """Return which deviations are only rounding errors of the mean."""
    flat: Array = scale <= 1e-12 * np.abs(mean)
    return flat


def pixels(x: Array) -> Array:
    """Return inputs as float32 rows: images, uint8 or in [0, 1], in [-1, 1]; tables unchanged."""
    rows = x.reshape(len(x), math.prod(x.shape[1:]))
    if x.ndim != IMAGE_DIMENSIONS:
        return rows.astype(np.float32)
    # uint8 is converted via [0, 1] as in `generative.pixels.as_dtype`, so that the same image gives the same bits.
    unit = rows.astype(np.float32)
    if x.dtype == np.uint8:
        unit /= np.float32(255)
    unit *= np.float32(2)
    unit -= np.float32(1)
    return unit


class RandomNet:
    """An untrained network of three convolutions with fixed weights, which depend on its shape alone.

    Each level is a 3 x 3 convolution with normal weights (He et al.), a leaky ReLU, and a halving by averages. The
    features are each level's activations, averaged over a grid.
    """

    def __init__(self, channels: int, device: str = "cpu") -> None:
        self.device = device
        widths = (channels, *WIDTHS)
        rng = numpy_generator(0, "features", "random net", channels)
        self.weights = [
            rng.normal(0, (2 / (9 * into)) ** 0.5, (out, into, 3, 3)).astype(np.float32)
            for into, out in itertools.pairwise(widths)
        ]

    def __call__(self, x: Array) -> Array:
        """Return (n, 896) float32 features of images (n, height, width, channels), uint8 or float32 in [0, 1]."""
        import torch

        from privbench.learn.inference import exact

        device = torch.device(self.device)
        weights = [torch.from_numpy(weight).to(device) for weight in self.weights]
        features = [np.empty((0, sum(w * p * p for w, p in zip(WIDTHS, POOLED, strict=True))), np.float32)]
        with torch.inference_mode(), exact(device):
            for start in range(0, len(x), BATCH):
                batch = x[start : start + BATCH]
                images = torch.from_numpy(pixels(batch).reshape(batch.shape)).to(device)
                features.append(_levels(images.permute(0, 3, 1, 2).contiguous(), weights).cpu().numpy())
        return np.concatenate(features)


def _levels(images: Any, weights: list[Any]) -> Any:
    """Return (b, features): the pooled activations of every level. images: (b, channels, height, width) in [-1, 1]."""
    import torch
    from torch.nn import functional

    found = []
    for weight, side in zip(weights, POOLED, strict=True):
        padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")  # zero padding would create an edge
        images = functional.leaky_relu(functional.conv2d(padded, weight), SLOPE)
        found.append(functional.adaptive_avg_pool2d(images, side).flatten(1))
        halved = [-(-size // 2) for size in images.shape[2:]]
        images = functional.adaptive_avg_pool2d(images, halved)
    return torch.cat(found, dim=1)


def _axes(centred: Array, dimensions: int) -> Array:
    """Return (d, columns) principal axes of centred rows, by decreasing variance; each has a positive largest entry."""
    from scipy.linalg import eigh

    n, columns = centred.shape
    wanted = max(1, min(dimensions, n - 1, columns))
    side = min(n, columns)
    # scikit-learn's exact solvers compute all components; for a few of them this takes a third of the time.
    products = centred.T @ centred if columns <= n else centred @ centred.T
    widths, vectors = eigh(products, subset_by_index=[side - wanted, side - 1])
    told = widths > max(n, columns) * np.finfo(np.float64).eps * widths[-1]
    told[-1] = True
    axes = vectors.T[told][::-1] if columns <= n else vectors.T[told][::-1] @ centred
    norms = np.linalg.norm(axes, axis=1, keepdims=True)
    axes = axes / np.where(norms > 0, norms, 1.0)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    flipped: Array = axes * np.where(largest < 0, -1.0, 1.0)
    return flipped


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FeatureOptions:
    """The space in which examples are compared."""

    features: Literal["pixels", "pca", "encoder"] = option(
        "pixels",
        "space of distances: pixels in [-1, 1], or columns; 64 principal components of them, or of an untrained net's "
        "activations, fitted on the attacker's reference examples",
    )
    scale: Literal["columns", "none"] = option(
        "columns",
        "of tables, without effect on images: divide each column by its standard deviation among the attacker's "
        "reference examples; none: compare rows as they are, features=pixels only",
    )

    @property
    def needs(self) -> Needs:
        """Candidates and synthetic examples; reference examples for components and scales; no predictions."""
        return Needs(answers="none", examples=True, synthetic=True, reference=not self.encodes_raw)

    @property
    def encodes_raw(self) -> bool:
        """Whether rows of tables are compared without scaling."""
        return self.features == "pixels" and self.scale == "none"

    def encoder(self, evidence: Evidence) -> Encoder:
        """Return the map from examples to the space."""
        if self.encodes_raw:
            return Encoder("pixels", pixels)
        reference = Examples(evidence.reference.x, evidence.reference.labels)
        return fit_encoder(self.features, reference, published=published(evidence.synthetic).x)


def published(examples: Examples | None) -> Examples:
    """Return the published synthetic examples. Raises CellFailed if a release has none."""
    if examples is None or not len(examples):
        raise CellFailed("This attack needs synthetic examples, but the release publishes none.")
    return examples


def distance_to(queries: Array, points: Array) -> Array:
    """Return (m,) float64: the distance of each query to the nearest point."""
    return np.asarray(nearest(queries, points)[0][:, 0])
