"""Label-only attacks: the disturbance of an example until the target predicts another label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from privbench.api import Needs, component, option

if TYPE_CHECKING:
    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]


@component
class LabelOnly:
    """How robust the target's label of an example is, from labels alone: of the target it gets nothing else.

    augmentation    the share of variants that the target labels rightly: the image itself, shifted by `shift` pixels
                    over both axes together (4 d + 1 with the image), and rotated by 1 to `rotate` degrees either way;
                    with grid=18 or 162 all shifts by up to 1 or 4 pixels, mirrored too (SELENA's) in their place.
    boundary        the L2 distance to the nearest input found that the target labels otherwise; 0 where the example
                    itself is. Images have pixels in [0, 1] and stay in that box; features of tables count in standard
                    deviations of the candidates.
    noise           the share of noisy copies that the target labels rightly: Gaussian noise of several strengths, of
                    pixels in [0, 1] or of features in standard deviations; bits of a table of zeros and ones are
                    flipped with such probabilities instead.

    The paper trains a net on the pattern of right and wrong variants of shadow models; here their share is the score,
    as in its noise attack, and the harness calibrates a threshold on other models. The search for the boundary is in
    the manner of HopSkipJump (Chen, Jordan, Wainwright, S&P 2020), with its gradient from signs, but starts from the
    nearest candidates with another label, probes in orthonormal directions that all examples share, and tries several
    steps at once, so that some 500 queries an example do for small inputs (the paper: about 2,500).
    Nothing breaks ties: augmentations and noise give as few levels as there are queries.
    """

    name: ClassVar[str] = "label-only"
    paper: ClassVar[str] = (
        "Choquette-Choo, Tramer, Carlini, Papernot: Label-Only Membership Inference Attacks, ICML 2021 (2007.14321)"
    )

    method: Literal["augmentation", "boundary", "noise"] = option("augmentation", "perturbation of the examples")
    shift: int = option(1, "augmentation: pixels of the shifts, summed over both axes (0: none)", ge=0)
    rotate: int = option(4, "augmentation: degrees of the largest rotation, either way (0: none)", ge=0, le=180)
    grid: Literal[0, 18, 162] = option(0, "augmentation: aligned queries in place of shifts and rotations (0: not)")
    budget: int = option(500, "boundary: maximum number of queries per example", ge=100)
    levels: tuple[Annotated[float, Field(gt=0)], ...] = option(
        (0.05, 0.1, 0.2), "noise: standard deviations, or probabilities of a flip", min_length=1
    )
    draws: int = option(10, "noise: noisy copies at each level", ge=1)

    @property
    def needs(self) -> Needs:
        """Labels of the target for queries of its own, or aligned ones; the candidates; no shadows."""
        if self.method == "augmentation" and self.grid:
            return Needs(answers="labels", queries=self.grid)
        return Needs(answers="labels", query=True, examples=True)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed for augmentations of tables."""
        if self.method == "boundary":
            from privbench_attacks.label_only.boundary import boundary_distances

            return boundary_distances(evidence, self.budget)
        from privbench_attacks.label_only import disturbed

        if self.method == "noise":
            return disturbed.share_of_noisy(evidence, self.levels, self.draws)
        if self.grid:
            return np.asarray((evidence.predictions == evidence.labels[:, None]).mean(axis=1))
        return disturbed.share_of_augmented(evidence, self.shift, self.rotate)
