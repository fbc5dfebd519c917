"""Composition: `fake-data+relaxloss` runs every part's data stage, then the last part's training stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privbench.errors import BadOption, PluginError
from privbench.options import spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from privbench.api import Blueprint, Context, Examples, Release


@dataclass(frozen=True)
class Chain:
    """Data stages followed by one training stage."""

    parts: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The parts' names, joined as on the command line."""
        return "+".join(part.name for part in self.parts)

    @property
    def spec_text(self) -> str:
        """The text that builds this chain again."""
        return "+".join(spec(part) for part in self.parts)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Prepare the examples part by part, then train as the last part does."""
        for position, part in enumerate(self.parts):
            if hasattr(part, "prepare"):
                examples = part.prepare(task, examples, ctx.stage(part.name, position))
        last = len(self.parts) - 1
        release: Release = self.parts[-1].fit(task, examples, ctx.stage(self.parts[-1].name, last))
        return release

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded."""
        from privbench.training import classifier

        build = getattr(self.parts[-1], "empty", classifier)
        model: nn.Module = build(task)
        return model


def chain(parts: Sequence[Any]) -> Any:
    """Return one defense from its parts.

    Raises BadOption for a training stage that is not the last, PluginError for a part without any stage.
    """
    for part in parts:
        if not hasattr(part, "prepare") and not hasattr(part, "fit"):
            raise PluginError(f"Defense {part.name!r} has neither 'prepare' nor 'fit', so it would defend nothing.")
    for part in parts[:-1]:
        if not hasattr(part, "prepare"):
            names = "+".join(p.name for p in parts)
            raise BadOption(
                f"{names!r}: {part.name!r} trains the released model, so it must stand last; "
                f"only defenses with a data stage can stand before '+'."
            )
    if not hasattr(parts[-1], "fit"):
        from privbench.defenses.ce import CrossEntropy

        parts = [*parts, CrossEntropy()]
    return parts[0] if len(parts) == 1 and not hasattr(parts[0], "prepare") else Chain(tuple(parts))
