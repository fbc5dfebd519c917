"""Attack-P: the rank of an example's loss among the losses of examples on which the model was not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import Needs, component, option
from privbench.errors import CellFailed
from privbench.stats import signals

if TYPE_CHECKING:
    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]


@component
class AttackP:
    """The share of the attacker's reference examples z with no lower loss: mean over z of 1[loss(x) <= loss(z)].

    It needs no shadow models. The score is a step function of the loss, one minus an empirical p-value: with m
    reference examples it has at most m + 1 values, and examples that beat all of them are tied, so that it may have no
    threshold with a false-positive rate below about 1 / (m + 1) (digits: m = 153). Losses are compared as logits of the
    confidence, which have the same order and do not saturate.

    Ye et al. smooth the population's loss distribution to reach smaller rates; this is omitted here.
    """

    name: ClassVar[str] = "attack-p"
    paper: ClassVar[str] = (
        "Ye, Maddi, Murakonda, Bindschaedler, Shokri: Enhanced Membership Inference Attacks against Machine Learning "
        "Models, CCS 2022 (2111.09679)"
    )
    needs: ClassVar[Needs] = Needs(reference=True)

    fpr: float | None = option(
        None, "false-positive rate of the decisions; none: a threshold calibrated on shadow models", gt=0, lt=1
    )

    @property
    def threshold(self) -> float | None:
        """Scores of at least 1 - fpr mean member."""
        return None if self.fpr is None else 1.0 - self.fpr

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64 in [0, 1]. Raises CellFailed without reference examples."""
        population = np.sort(evidence.reference.signals(signals.phi)[:, 0])
        if len(population) == 0:
            raise CellFailed("attack-p needs reference examples, but the task keeps none.")
        own = evidence.signals(signals.phi)[:, 0]
        return np.asarray(np.searchsorted(population, own, side="right") / len(population))
