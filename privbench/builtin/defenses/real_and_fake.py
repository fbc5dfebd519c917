"""Common parts of the defenses that train on real and generated examples together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import Examples, option
from privbench.data import concatenate
from privbench.errors import BadOption

if TYPE_CHECKING:
    from privbench.api import Blueprint, Context


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainsOnBoth:
    """Real and generated examples, with equal augmentation unless `augment` says otherwise (the paper's ablation)."""

    augment: Literal["both", "real", "fake"] = option("both", "examples to which the task's augmentation applies")

    def reuse(self, task: Blueprint, members: Examples, synthetic: Examples, _ctx: Context) -> Examples:
        """Return the attacker's real examples and the generated ones that the target published."""
        self.check_augment(task)
        return self.together(members, synthetic)

    def together(self, real: Examples, fake: Examples) -> Examples:
        """Return real examples, then generated ones; the rows that may be augmented are set only if it matters."""
        both = concatenate(real, like(fake, real))
        if self.augment == "both":
            return both
        is_real = np.arange(len(both)) < len(real)
        return Examples(both.x, both.y, is_real if self.augment == "real" else ~is_real)

    def check_augment(self, task: Blueprint) -> None:
        """Raise BadOption for a choice of `augment` without effect."""
        from privbench.learn import augments

        if self.augment != "both" and not augments(task.recipe):
            raise BadOption(
                f"augment={self.augment} has no effect, for task {task.task!r} does not augment; "
                "set its crop, flip or cutout."
            )


def like(fake: Examples, real: Examples) -> Examples:
    """Return generated examples (uint8) in the dtype of the real ones that they join."""
    from privbench.builtin.generative.pixels import as_dtype

    return Examples(as_dtype(fake.x, real.x.dtype), fake.y)
