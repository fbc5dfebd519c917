"""Estimates with 95 % confidence intervals: rates, balanced accuracy, AUC, means.

Arrays are (targets, examples). An example occurs once under every target, so its scores are dependent: intervals treat
the *examples* as the sample (clusters) and the targets as fixed. The spread over targets (metrics.py) shows the effect
of another training. With one target all of this is the textbook interval: Clopper-Pearson, DeLong.
"""

from privbench.stats.intervals.discrimination import auc, auc_influence, balanced_accuracy, delong
from privbench.stats.intervals.estimates import (
    LEVEL,
    AtLeastZero,
    Bounded,
    Estimate,
    Share,
    Signed,
    estimate,
    rounded,
    unavailable,
)
from privbench.stats.intervals.means import mean, mean_of, share
from privbench.stats.intervals.proportions import accuracy, clopper_pearson, rate

__all__ = [
    "LEVEL",
    "AtLeastZero",
    "Bounded",
    "Estimate",
    "Share",
    "Signed",
    "accuracy",
    "auc",
    "auc_influence",
    "balanced_accuracy",
    "clopper_pearson",
    "delong",
    "estimate",
    "mean",
    "mean_of",
    "rate",
    "rounded",
    "share",
    "unavailable",
]
