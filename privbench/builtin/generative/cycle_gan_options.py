"""Options of CycleGAN and the names of its stored arrays, in a separate module so that listing them needs no torch."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import option

S2R, R2S = "s2r/", "r2s/"
"""Prefixes of the two generators' weights: from safe to risky, from risky to safe."""
CURVE = "curve"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CycleGanOptions:
    """The options of a CycleGAN. Each field is also an option of `transform`."""

    lambda_cycle: float = option(0.3, "weight of the cycle's L1 loss, on pixels in [-1, 1]: higher changes less", ge=0)
    identity: float = option(1.0, "weight, times lambda_cycle, of the identity loss", ge=0)
    cycle_matched: bool = option(True, "CycleGAN: the same class frequencies in the batches of both domains")
    cycle_classes: bool = option(
        True, "CycleGAN: the critics see the classes of images, so that moved ones keep theirs"
    )
    cycle_skip: bool = option(True, "CycleGAN: generators add to their input, so that they start as the identity")
    cycle_conv: bool = option(False, "CycleGAN at 8 pixels: convolutional networks, as at 32, instead of perceptrons")
    cycle_steps: int = option(300, "CycleGAN: training steps, the second half with a decreasing learning rate", ge=1)
    cycle_epochs: float | None = option(
        None, "CycleGAN: passes over the larger domain, instead of a number of steps (none: cycle_steps)", gt=0
    )
    cycle_batch: int = option(32, "CycleGAN: images of each domain per step", ge=1)
    cycle_width: int = option(
        32, "CycleGAN: channels of the outermost layers (at 8 pixels: a quarter of the hidden units)", ge=1
    )
    cycle_lr: float = option(3e-3, "CycleGAN: learning rate of Adam", gt=0)
