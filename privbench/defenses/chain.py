"""Composition: `fake-data+relaxloss` runs every part's data stage, then the last part's training stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from privbench.api import Prepared
from privbench.errors import BadOption, PluginError
from privbench.options import spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from privbench.api import Blueprint, Context, Examples, Release

PREPARING = 0.8
"""Where the progress bar stands when the data stages are done."""


@dataclass(frozen=True)
class Chain:
    """Data stages followed by one training stage."""

    parts: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The parts' names, joined as on the command line."""
        return "+".join(part.name for part in self._named)

    @property
    def spec_text(self) -> str:
        """The text that builds this chain again."""
        return "+".join(spec(part) for part in self._named)

    @property
    def _named(self) -> Sequence[Any]:
        """All parts but plain training, which goes without saying."""
        return self.parts[:-1] if spec(self.trainer) == "ce" and len(self.parts) > 1 else self.parts

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Prepare the examples part by part, then train as the last part does.

        What the data stages publish and note is released with the model.
        """
        stages = [(position, part) for position, part in enumerate(self.parts) if hasattr(part, "prepare")]
        synthetic: Examples | None = None
        facts: dict[str, float] = {}
        notes: dict[str, Any] = {}
        for done, (position, part) in enumerate(stages):
            share = (PREPARING * done / len(stages), PREPARING * (done + 1) / len(stages))
            prepared = part.prepare(task, examples, ctx.stage(part.name, position, share))
            if isinstance(prepared, Prepared):
                synthetic = synthetic if prepared.synthetic is None else prepared.synthetic
                facts |= prepared.facts
                notes |= prepared.notes
                prepared = prepared.examples
            examples = prepared
        release: Release = self.trainer.fit(task, examples, self._last_stage(ctx))
        return replace(
            release,
            synthetic=synthetic if release.synthetic is None else release.synthetic,
            facts={**facts, **release.facts},
            notes={**notes, **release.notes},
        )

    @property
    def trainer(self) -> Any:
        """The part that trains the released model."""
        return self.parts[-1]

    @property
    def relative_cost(self) -> float:
        """Trainings of the task's model that all parts take; a data stage that does not say counts for none."""
        return float(sum(getattr(part, "relative_cost", float(part is self.trainer)) for part in self.parts))

    def reusing(self, synthetic: Examples) -> Chain:
        """Return the chain of an attacker who, for its generator, has the synthetic examples that it published."""
        return Chain((_Reuse(self.parts[0], synthetic), *self.parts[1:]))

    def transform_inputs(self, task: Blueprint, notes: Mapping[str, Any], x: Any, device: str) -> Any:
        """Return inputs as the data stages of one release move them, from the release's notes."""
        for part in self.parts:
            if hasattr(part, "transform_inputs"):
                x = part.transform_inputs(task, notes, x, device)
        return x

    @property
    def transforms(self) -> bool:
        """Whether a data stage moves inputs in a way that an attacker can repeat."""
        return any(hasattr(part, "transform_inputs") for part in self.parts)

    def _last_stage(self, ctx: Context) -> Context:
        return ctx.stage(self.trainer.name, len(self.parts) - 1, (PREPARING, 1.0))

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded."""
        from privbench.training import classifier

        build = getattr(self.trainer, "empty", classifier)
        model: nn.Module = build(task)
        return model


@dataclass(frozen=True)
class _Reuse:
    """The data stage of a generative defense, without its generator."""

    part: Any
    synthetic: Examples

    @property
    def name(self) -> str:
        return str(self.part.name)

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Examples:
        examples: Examples = self.part.reuse(task, members, self.synthetic, ctx)
        return examples


def chain(parts: Sequence[Any]) -> Any:
    """Return one defense from its parts.

    Raises BadOption for a training stage that is not the last, PluginError for a part without any stage.
    """
    for part in parts:
        if not hasattr(part, "prepare") and not hasattr(part, "fit"):
            raise PluginError(f"Defense {part.name!r} has neither 'prepare' nor 'fit', so it would defend nothing.")
    names = "+".join(part.name for part in parts)
    for part in parts[:-1]:
        if not hasattr(part, "prepare"):
            raise BadOption(
                f"{names!r}: {part.name!r} trains the released model, so it must stand last; "
                f"only defenses with a data stage can stand before '+'."
            )
    for part in parts[1:]:
        if getattr(part, "from_members", False):
            raise BadOption(
                f"{names!r}: {part.name!r} trains a generator on the private examples themselves, so it must stand "
                f"first; after {parts[0].name!r} it would see what that makes of them."
            )
    if not hasattr(parts[-1], "fit"):
        from privbench.defenses.ce import CrossEntropy

        parts = [*parts, CrossEntropy()]
    return parts[0] if len(parts) == 1 and not hasattr(parts[0], "prepare") else Chain(tuple(parts))
