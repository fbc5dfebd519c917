"""Training recipe: everything about training except the model, the data and the loss."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.options.fields import option


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Optimiser, schedule and augmentation. Each field is also an option of every built-in task."""

    epochs: int = option(30, "passes over the training examples", ge=1)
    batch_size: int = option(64, "examples per step", ge=1)
    optimizer: Literal["sgd", "adamw"] = option("sgd", "SGD with momentum, or AdamW")
    lr: float = option(0.1, "peak learning rate", gt=0)
    momentum: float = option(0.9, "momentum of SGD", ge=0, lt=1)
    weight_decay: float = option(5e-4, "weight decay", ge=0)
    schedule: Literal["constant", "cosine", "steps"] = option("cosine", "schedule of the learning rate")
    milestones: tuple[float, ...] = option((0.5, 0.75), "with steps: fractions of training at its drops")
    gamma: float = option(0.1, "with steps: factor by which it falls", gt=0, le=1)
    warmup: float = option(0.0, "epochs of linear warm-up", ge=0)
    crop: int = option(0, "random crop per example: pixels of reflect padding (0: off)", ge=0)
    flip: float = option(0.0, "probability of a horizontal flip per example", ge=0, le=1)
    cutout: int = option(0, "side in pixels of a square zeroed per example (0: off)", ge=0)
    copies: int = option(0, "static augmentation: copies made once that replace the originals (0: dynamic)", ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = option("auto", "auto: bfloat16 autocast on a GPU")
