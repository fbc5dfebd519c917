"""Training loop, steps for other loops, and queries to models. Importing it imports torch."""

from privbench.learn.augmentation import augments, static
from privbench.learn.batches import batch_sizes
from privbench.learn.drawing import Drawing, Dropout, DropPath, lent
from privbench.learn.inference import (
    Normalised,
    as_float,
    classifier,
    exact,
    mean_loss,
    predict,
    take,
    to_inputs,
)
from privbench.learn.optimisers import Optimiser, adam, descend, optimizer
from privbench.learn.steps import Steps, rates, recorded, say, set_rate
from privbench.learn.training import REPORT_SECONDS, cross_entropy, step, train
from privbench.learn.transfers import arrays_of, load_arrays

__all__ = [
    "REPORT_SECONDS",
    "Drawing",
    "DropPath",
    "Dropout",
    "Normalised",
    "Optimiser",
    "Steps",
    "adam",
    "arrays_of",
    "as_float",
    "augments",
    "batch_sizes",
    "classifier",
    "cross_entropy",
    "descend",
    "exact",
    "lent",
    "load_arrays",
    "mean_loss",
    "optimizer",
    "predict",
    "rates",
    "recorded",
    "say",
    "set_rate",
    "static",
    "step",
    "take",
    "to_inputs",
    "train",
]
