"""Generation quality: Frechet distance, precision, recall and diversity of published synthetic examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from privbench.api import Examples, Measurement, component, option
from privbench.builtin.audits.divergence import thin
from privbench.builtin.audits.fidelity import NEIGHBOURS, frechet, precision_recall
from privbench.builtin.generative.quality import quality
from privbench.errors import CellFailed
from privbench.features import fit_encoder
from privbench.population import publishes
from privbench.stats import intervals
from privbench.stats.intervals import Bounded, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privbench.aliases import Array
    from privbench.api import Context
    from privbench.population import Population

DIGITS = 6
FACTS = ("diversity", "collapsed_classes", "nearest_member", "copies")
BY_CLASS = ("fid_enc", "fid_enc_reference")
HOW_TO_READ = (
    "Names that end in _reference are of held-out real examples in the place of generated ones, as many: what perfect "
    "generation would have. A distance to members below it, with one to held-out examples above, is memorisation."
)
NOT_FID = (
    "fid_enc is a Frechet distance between features of an untrained net, not of Inception: compare it with nothing but "
    "the same task's."
)


@component
class GenerationQuality:
    """Fidelity and diversity of each release's synthetic examples, next to those of as many held-out real examples.

    fid_enc: Frechet distance to the members, in the features of an untrained encoder (principal components fitted on
    reference examples); by class too. Precision and recall as defined by Kynkaanniemi et al. 2019, k = 3. Diversity and
    copies as in the facts of each release: copies are searched among all members, and the columns of tables are
    standardised by the reference examples.
    """

    name: ClassVar[str] = "generation-quality"
    paper: ClassVar[str] = (
        "Heusel et al., NeurIPS 2017 (1706.08500: Frechet distance); Kynkaanniemi et al., NeurIPS 2019 (1904.06991)"
    )

    features: Literal["encoder", "pca", "pixels"] = option("encoder", "feature space of the distances")
    blur: float = option(
        0.0, "sigma, in pixels, of a Gaussian blur of generated and of real images before they are compared", ge=0
    )
    examples: int = option(5000, "number of synthetic and of real examples, evenly spaced", ge=10)

    def compared(self, population: Population) -> Sequence[Population]:
        """Return no further populations. Raises CellFailed for a defense that publishes no synthetic examples."""
        if not publishes(population.defense):
            raise CellFailed(f"{population.defense.name} publishes no synthetic examples to look at.")
        return ()

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Return values averaged over releases, and a table by class. Raises CellFailed without synthetic data."""
        assert ctx.reference is not None, "audits are lent reference examples"
        first = population.synthetic(0)
        if first is None:
            raise CellFailed(f"{population.defense.name} publishes no synthetic examples to look at.")
        if self.blur and not first.is_image:
            raise CellFailed(
                f"blur={self.blur:g}: {population.task.name} holds tables, and only images can be blurred."
            )
        encode = fit_encoder(self.features, ctx.reference, device=ctx.device, published=first.x)
        scale = fit_encoder("pixels", ctx.reference, published=first.x)
        pool = blurred(population.dataset.role("pool"), self.blur)
        values: dict[str, list[float]] = {}
        classes: dict[int, list[dict[str, float]]] = {}
        for index in range(population.models):
            synthetic = population.synthetic(index)
            if synthetic is None:
                raise CellFailed(f"{population.defense.name} model {index} publishes no synthetic examples.")
            synthetic = blurred(synthetic, self.blur)
            member = population.members(index)
            parts = self._equal(pool[member], pool[~member], synthetic, index)
            whole = (pool[member], _thinned(pool[~member], self.examples), _thinned(synthetic, self.examples))
            for name, value in _compared(*parts, encode, [_scaled(part, scale) for part in whole]).items():
                values.setdefault(name, []).append(value)
            rows = _by_class(*parts, encode)
            for label, row in rows.items():
                classes.setdefault(label, []).append(row)
            for name in BY_CLASS if rows else ():
                mean = float(np.mean([row[name] for row in rows.values()]))
                values.setdefault(f"{name}_by_class", []).append(Bounded(mean, most=math.inf))
            ctx.progress((index + 1) / population.models, f"release {index}")
        table = [{"class": label, **_mean_row(rows)} for label, rows in sorted(classes.items())]
        estimates = {name: intervals.mean_of(each) for name, each in sorted(values.items())}
        return Measurement(estimates, {"By class": table}, notes=[HOW_TO_READ, NOT_FID])

    def _equal(
        self, members: Examples, heldout: Examples, synthetic: Examples, index: int
    ) -> tuple[Examples, Examples, Examples]:
        """Return equally many of each, because all of these values depend on the number of examples."""
        count = min(self.examples, len(members), len(heldout), len(synthetic))
        if count <= NEIGHBOURS:
            raise CellFailed(f"release {index}: {count} examples on one side; {NEIGHBOURS + 1} or more are needed.")
        return _thinned(members, count), _thinned(heldout, count), _thinned(synthetic, count)


def blurred(examples: Examples, sigma: float) -> Examples:
    """Return images (n, height, width, channels) blurred by a Gaussian, in their dtype; sigma in pixels, 0 for none."""
    from scipy.ndimage import gaussian_filter

    if not sigma:
        return examples
    soft = gaussian_filter(examples.x.astype(np.float32), (0, sigma, sigma, 0))
    soft = np.rint(soft) if examples.x.dtype == np.uint8 else soft
    return Examples(soft.astype(examples.x.dtype), examples.y)


def _compared(
    members: Examples,
    heldout: Examples,
    synthetic: Examples,
    encode: Callable[[Array], Array],
    whole: Sequence[Examples],
) -> dict[str, float]:
    """Return values for equally many members, held-out and synthetic examples, and facts of the whole sets."""
    inside, outside, made = (encode(part.x) for part in (members, heldout, synthetic))
    precision, recall = precision_recall(inside, made)
    precision_reference, recall_reference = precision_recall(inside, outside)
    facts, reference = quality(whole[0], whole[2]), quality(whole[0], whole[1])
    most, n = {"copies": 1.0, "collapsed_classes": float(len(np.unique(whole[0].y)))}, len(members)
    return {
        "fid_enc": Bounded(frechet(inside, made), most=math.inf),
        "fid_enc_heldout": Bounded(frechet(outside, made), most=math.inf),
        "fid_enc_reference": Bounded(frechet(inside, outside), most=math.inf),
        "precision": Bounded(precision, of=n),
        "precision_reference": Bounded(precision_reference, of=n),
        "recall": Bounded(recall, of=n),
        "recall_reference": Bounded(recall_reference, of=n),
        **{
            f"{name}{ending}": Bounded(found[name], most=most.get(name, math.inf), of=n)
            for ending, found in (("", facts), ("_reference", reference))
            for name in FACTS
            if name in found
        },
    }


def _by_class(
    members: Examples, heldout: Examples, synthetic: Examples, encode: Callable[[Array], Array]
) -> dict[int, dict[str, float]]:
    """Return the Frechet distance and diversity of each class with enough examples on all sides."""
    rows = {}
    for label in np.unique(members.y).tolist():
        parts = [part[part.y == label] for part in (members, heldout, synthetic)]
        count = min(map(len, parts))
        if count <= NEIGHBOURS:
            continue
        inside, outside, made = (_thinned(part, count) for part in parts)
        features = [encode(part.x) for part in (inside, outside, made)]
        rows[int(label)] = {
            "examples": float(count),
            "fid_enc": frechet(features[0], features[2]),
            "fid_enc_reference": frechet(features[0], features[1]),
            "diversity": quality(inside, made).get("diversity", 0.0),
            "diversity_reference": quality(inside, outside).get("diversity", 0.0),
        }
    return rows


def _mean_row(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: rounded(float(np.mean([row[name] for row in rows])), DIGITS) for name in rows[0]}


def _scaled(examples: Examples, scale: Callable[[Array], Array]) -> Examples:
    """Return images unchanged, and tables with standardised columns."""
    return examples if examples.is_image else Examples(scale(examples.x), examples.y)


def _thinned(examples: Examples, most: int) -> Examples:
    return examples[thin(np.arange(len(examples)), most)]
