"""Similarity of images to training data, with intervals; and the corresponding part of a record.

Images are (targets, classes, height, width, channels) in [0, 1]: one of each class, from every target. Metrics of
single images are (targets, classes), NaN without anything to compare with. Intervals treat the *classes* as the sample,
because the images of a class, one from each target, are dependent. Means are of class means, with the interval of
`intervals.mean`; shares have the Clopper-Pearson interval with the effective n. docs/records.md explains the metrics.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from privbench.stats import intervals
from privbench.stats.intervals import AtLeastZero, Estimate, Share, Signed
from privbench.stats.ranges import Fraction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.aliases import Array
    from privbench.data.dataset import Examples

QUANTISATION = 1 / (12 * 255**2)
"""Mean squared error of rounding to 256 levels: images closer than that count as copies."""
PSNR_CAP = -10 * math.log10(QUANTISATION)
"""PSNR of a copy, 58.9 dB, in a mean."""
DIGITS = 6
"""Significant digits in the list of classes."""
WINDOW = 7
"""Side of the window of SSIM; for smaller images, the largest odd one that fits."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Likeness(_Part):
    """The similarity of images to the training data of their classes."""

    accuracy: Share
    """Share of images that the evaluation classifier assigns to the requested class."""
    confidence: Share
    """Mean probability of that class under the attacked model."""
    detected: Share
    """Share of images in which the detector finds an object: see `detector`."""
    feature_distance: AtLeastZero
    """Mean distance to the nearest member of the class, in features of the evaluation classifier (L2, k = 1)."""
    psnr_mean: AtLeastZero
    """Mean PSNR in dB to the mean of the class's members."""
    psnr_member: AtLeastZero
    """Mean PSNR in dB to the nearest member of the class, by pixels (L2)."""
    psnr_nonmember: AtLeastZero
    """Mean PSNR in dB to the nearest non-member of the class in the pool."""
    ssim_mean: Signed
    """Mean structural similarity to the mean of the class's members."""
    ssim_member: Signed
    """Mean structural similarity to the same nearest member."""
    ssim_nonmember: Signed
    """Mean structural similarity to the same nearest non-member."""
    distance_ratio: AtLeastZero
    """Distance to the nearest member divided by that to the nearest non-member, geometric mean; 1 by chance."""


class Reconstruction(_Part):
    """The metrics of a reconstruction attack, and of three controls."""

    attack: Likeness
    heldout: Likeness
    """Control: real test images, one of each class for every target."""
    noise: Likeness
    """Control: uniform noise."""
    untrained: Likeness | None
    """A control: the same attack on untrained networks; null if it uses no network."""
    evaluator: str
    """Architecture of the evaluation classifier, different from the task's; trained on all but the test examples."""
    evaluator_accuracy: Share
    """Accuracy of the evaluation classifier on test examples."""
    detector: str
    """The detector of `detected`: a face detector, or the evaluation classifier's confidence."""
    per_class_accuracy: list[Fraction]
    """`accuracy` of the attack for each class, as a share of targets."""


class Nearest(NamedTuple):
    """The references that images are compared with."""

    member: Array
    """(targets, classes) int64: index in the pool of the nearest member of the class, by pixels; -1 without one."""
    example: Array
    """(targets, classes) int64: index in the pool of the first member of the class; -1 without one."""
    values: dict[str, Array]
    """Metrics of single images by their names in `Likeness`; the logarithm for `distance_ratio`."""


def unit(x: Array) -> Array:
    """Return images as float32 in [0, 1], as model inputs."""
    scaled: Array = x.astype(np.float32)
    return scaled / np.float32(255) if x.dtype == np.uint8 else scaled


def psnr(one: Array, other: Array) -> Array:
    """Return the peak signal-to-noise ratio in dB of (..., height, width, channels) in [0, 1]; infinite for copies."""
    with np.errstate(divide="ignore"):
        decibels: Array = -10 * np.log10(np.square(one - other).mean(axis=(-3, -2, -1)))
    return decibels


def ssim(one: Array, other: Array) -> Array:
    """Return the structural similarity (n,) of (n, height, width, channels) in [0, 1] (Wang et al. 2004).

    In [-1, 1]. A uniform window and sample covariances, as in scikit-image by default; the mean over all windows within
    the image, and over channels.
    """
    from scipy.ndimage import uniform_filter

    height, width = one.shape[1:3]
    side = min(WINDOW, height - 1 + height % 2, width - 1 + width % 2)
    edge, unbiased = side // 2, side**2 / max(1, side**2 - 1)

    def mean(x: Array) -> Array:
        filtered: Array = uniform_filter(x, size=(1, side, side, 1))
        return filtered[:, edge : height - edge, edge : width - edge]

    one, other = one.astype(np.float64), other.astype(np.float64)
    m1, m2 = mean(one), mean(other)
    v1, v2 = unbiased * (mean(one * one) - m1**2), unbiased * (mean(other * other) - m2**2)
    both = unbiased * (mean(one * other) - m1 * m2)
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))
    similarity: Array = found.mean(axis=(1, 2, 3))
    return similarity


def compare(images: Array, features: Array, pool: Examples, pool_features: Array, members: Array) -> Nearest:
    """Compare images with the mean of their class's members, the nearest member and the nearest non-member.

    features: (targets, classes, d) of the images
    pool_features: (n, d) of the pool
    members: (targets, n) bool
    """
    from scipy.spatial.distance import cdist

    shape = images.shape[:2]
    names = [f"{of}_{to}" for of in ("psnr", "ssim") for to in ("mean", "member", "nonmember")]
    values = {name: np.full(shape, np.nan) for name in (*names, "feature_distance", "distance_ratio")}
    nearest, example = np.full((2, *shape), -1)
    for label in range(shape[1]):
        rows = np.flatnonzero(pool.y == label)
        x, mine = unit(pool.x[rows]).astype(np.float64), images[:, label].astype(np.float64)
        flat, inside = x.reshape(len(x), -1), members[:, rows]
        far = cdist(mine.reshape(len(mine), -1), flat)
        far_features = cdist(features[:, label], pool_features[rows])
        floor = math.sqrt(flat.shape[1] * QUANTISATION)
        distances = {}
        for to, where in (("member", inside), ("nonmember", ~inside)):
            some = where.any(axis=1)
            if not some.any():
                continue
            masked = np.where(where, far, np.inf)[some]
            index = masked.argmin(axis=1)
            values[f"psnr_{to}"][some, label] = psnr(mine[some], x[index])
            values[f"ssim_{to}"][some, label] = ssim(mine[some], x[index])
            distances[to] = np.full(len(images), np.nan)
            distances[to][some] = np.maximum(masked.min(axis=1), floor)
            if to == "member":
                nearest[some, label], example[some, label] = rows[index], rows[where[some].argmax(axis=1)]
                means = (where[some] @ flat / where[some].sum(axis=1, keepdims=True)).reshape(-1, *x.shape[1:])
                values["psnr_mean"][some, label] = psnr(mine[some], means)
                values["ssim_mean"][some, label] = ssim(mine[some], means)
                near = np.where(where, far_features, np.inf)[some].min(axis=1)
                values["feature_distance"][some, label] = near
        if len(distances) == 2:  # noqa: PLR2004 - members and non-members
            values["distance_ratio"][:, label] = np.log(distances["member"] / distances["nonmember"])
    return Nearest(nearest, example, values)


def summarise(values: Mapping[str, Array]) -> Likeness:
    """Return the metrics of images, by their names in `Likeness`, with intervals over classes."""
    found: dict[str, Estimate] = {}
    for name in Likeness.model_fields:
        each = values[name]
        if name in ("accuracy", "detected"):
            known = ~np.isnan(each)
            found[name] = intervals.rate(np.nansum(each, axis=0), known.sum(axis=0))
        elif name.startswith("psnr"):
            copies = int(np.isposinf(each).sum() + (each[np.isfinite(each)] > PSNR_CAP).sum())
            note = f"{copies} of {each.size} are copies; a copy counts as {PSNR_CAP:.1f} dB" if copies else ""
            found[name] = average(np.minimum(each, PSNR_CAP), 0.0, PSNR_CAP, note)
        elif name == "distance_ratio":
            found[name] = _exponential(average(each))
        else:
            low, high = {"confidence": (0.0, 1.0), "feature_distance": (0.0, math.inf)}.get(name, (-1.0, 1.0))
            found[name] = average(each, low, high)
    return Likeness(**found)


def average(values: Array, low: float = -math.inf, high: float = math.inf, note: str = "") -> Estimate:
    """Return the mean over class means of (targets, classes), with its interval over classes, within [low, high]."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    if not counts.any():
        return intervals.unavailable("no class has what it takes to compare with")
    means = np.nansum(values, axis=0)[counts > 0] / counts[counts > 0]
    found, n = intervals.mean(means, low, high), int(counts.sum())
    return found.model_copy(update={"n": n, "note": note or ("" if len(means) > 1 else "one class only: no interval")})


def _exponential(found: Estimate) -> Estimate:
    """Return the exponential of an estimate of a logarithm."""
    ends = {
        name: None if number is None else intervals.rounded(math.exp(number), 9)
        for name, number in (("value", found.value), ("low", found.low), ("high", found.high))
    }
    return found.model_copy(update=ends)
