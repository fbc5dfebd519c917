"""Composition: `fake-data+relaxloss+memguard` runs every part's data stage, one training stage, then output filters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from privbench.contracts.abilities import BuildsEmpty, Filters, Fits, Prepares, TransformsInputs, traits_of
from privbench.contracts.release import Prepared
from privbench.errors import BadOption, PluginError, blamed
from privbench.options.fields import Composite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from privbench.contracts.context import Context
    from privbench.contracts.release import Release
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples

PREPARING, TRAINED = 0.8, 0.9
"""Where the progress bar stands when the data stages are done, and when the training is that filters follow."""


@dataclass(frozen=True)
class Chain(Composite):
    """Data stages, one training stage, output filters."""

    parts: tuple[Any, ...]
    """Data stages, then the trainer, then output filters; the trainer may have all three stages itself."""

    @property
    def name(self) -> str:
        """The parts' names, joined as on the command line."""
        return "+".join(part.name for part in self.named)

    def cache_key(self, key_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return the keys of all parts."""
        return {"parts": [key_of(part) for part in self.parts]}

    @property
    def named(self) -> tuple[Any, ...]:
        """All parts but plain training, which goes without saying."""
        from privbench.population.ce import CrossEntropy

        if self.trainer != CrossEntropy() or len(self.parts) == 1:
            return self.parts
        return self.parts[: self._trains] + self.parts[self._trains + 1 :]

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Prepare the examples part by part, train, and filter what the trained model answers.

        What the data stages publish and note is released with the model.
        """
        stages = [(position, part) for position, part in enumerate(self.parts) if isinstance(part, Prepares)]
        synthetic: Examples | None = None
        facts: dict[str, float] = {}
        notes: dict[str, Any] = {}
        for done, (position, part) in enumerate(stages):
            share = _share(0.0, PREPARING, done, len(stages))
            with blamed(part):
                prepared = part.prepare(task, examples, ctx.stage(part.name, position, share))
            if isinstance(prepared, Prepared):
                synthetic = synthetic if prepared.synthetic is None else prepared.synthetic
                facts |= prepared.facts
                notes |= prepared.notes
                prepared = prepared.examples
            examples = prepared
        with blamed(self.trainer):
            release: Release = self.trainer.fit(task, examples, self._training_stage(ctx))
        model = release.model
        for done, (position, part) in enumerate(self._filters):
            share = _share(TRAINED, 1.0, done, len(self._filters))
            with blamed(part):
                model = part.filter(task, model.eval(), examples, ctx.stage(f"{part.name} filter", position, share))
        return replace(
            release,
            model=model,
            synthetic=synthetic if release.synthetic is None else release.synthetic,
            facts={**facts, **release.facts},
            notes={**notes, **release.notes},
        )

    @property
    def trainer(self) -> Any:
        """The part that trains the released model."""
        return self.parts[self._trains]

    @property
    def _trains(self) -> int:
        """The trainer's position: the last part that can train."""
        return max(position for position, part in enumerate(self.parts) if isinstance(part, Fits))

    @property
    def _filters(self) -> list[tuple[int, Any]]:
        """The output filters with their positions; the trainer may have one of its own."""
        parts = list(enumerate(self.parts))[self._trains :]
        return [(position, part) for position, part in parts if isinstance(part, Filters)]

    def reusing(self, synthetic: Examples) -> Chain:
        """Return the chain of an attacker who, for its generator, has the synthetic examples that it published."""
        return Chain((_Reuse(self.parts[0], synthetic), *self.parts[1:]))

    def transform_inputs(self, task: Blueprint, notes: Mapping[str, Any], x: Any, device: str) -> Any:
        """Return inputs as the data stages of one release move them, from the release's notes."""
        for part in self.parts:
            if isinstance(part, TransformsInputs):
                x = part.transform_inputs(task, notes, x, device)
        return x

    def _training_stage(self, ctx: Context) -> Context:
        end = TRAINED if self._filters else 1.0
        if any(isinstance(part, Prepares) for part in self.parts):
            return ctx.stage(self.trainer.name, self._trains, (PREPARING, end))
        return ctx.part((0.0, end))  # seeded as the training alone is: `memguard` stands on the very models of `ce`

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded."""
        from privbench.learn.inference import classifier

        model = self.trainer.empty(task) if isinstance(self.trainer, BuildsEmpty) else classifier(task)
        for _, part in self._filters:
            model = part.filtered(task, model)
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


def _share(start: float, end: float, done: int, of: int) -> tuple[float, float]:
    """Return from where to where one of several equal steps brings the progress bar."""
    width = (end - start) / of
    return start + width * done, start + width * (done + 1)


def chain(parts: Sequence[Any]) -> Any:
    """Return one defense from its parts; without a training stage among them, plain training is put in.

    Raises BadOption for an order that cannot be, PluginError for a part without any stage.
    """
    for part in parts:
        if not isinstance(part, Prepares | Fits | Filters):
            raise PluginError(
                f"Defense {part.name!r} has neither 'prepare' nor 'fit' nor 'filter' with 'filtered': it would defend "
                "nothing."
            )
    training, filters = _split(parts)
    _check_order("+".join(part.name for part in parts), training)
    if not training or not isinstance(training[-1], Fits):
        from privbench.population.ce import CrossEntropy

        training = [*training, CrossEntropy()]
    parts = [*training, *filters]
    alone = len(parts) == 1 and not isinstance(parts[0], Prepares | Filters)
    return parts[0] if alone else Chain((*parts,))


def _split(parts: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the parts up to the training stage, and the output filters that stand after it."""
    end = len(parts)
    while end and not isinstance(parts[end - 1], Fits | Prepares):
        end -= 1
    return parts[:end], parts[end:]


def _check_order(names: str, parts: Sequence[Any]) -> None:
    for part in parts[:-1]:
        if isinstance(part, Prepares):
            continue
        does = "trains the released model" if isinstance(part, Fits) else "filters what the released model answers"
        raise BadOption(
            f"{names!r}: {part.name!r} {does}, so it must stand last; only defenses with a data stage can stand before "
            f"'+', and only output filters after the training."
        )
    for part in parts[1:]:
        if traits_of(part).from_members:
            raise BadOption(
                f"{names!r}: {part.name!r} trains a generator on the private examples themselves, so it must stand "
                f"first; after {parts[0].name!r} it would see what that makes of them."
            )
