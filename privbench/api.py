"""The contracts between the harness and its tasks, defenses, attacks and audits.

Everything that a plugin needs is importable from here; nothing here does any work. Arrays are NumPy's, images
are (n, height, width, channels) with channels 1 or 3, tables are (n, features).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

from privbench.context import Context
from privbench.data import Dataset, Examples
from privbench.evidence import Evidence
from privbench.options import component, option
from privbench.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from privbench.intervals import Estimate
    from privbench.population import Population

__all__ = [
    "Attack",
    "Audit",
    "Blueprint",
    "Context",
    "Dataset",
    "Defense",
    "Evidence",
    "Examples",
    "Measurement",
    "MembershipAttack",
    "Needs",
    "Prepared",
    "Recipe",
    "ReconstructionAttack",
    "Release",
    "Task",
    "component",
    "option",
]

Array: TypeAlias = npt.NDArray[Any]


@runtime_checkable
class Task(Protocol):
    """A dataset, a model architecture and a training recipe."""

    name: ClassVar[str]

    @property
    def recipe(self) -> Recipe:
        """How models of this task are trained."""
        ...

    def load(self) -> Dataset:
        """Return the data with its four disjoint roles; the same at every call. Raises DataError."""
        ...

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a fresh model: float32 (batch, *shape), images as (batch, channels, height, width) -> logits."""
        ...


@dataclass(frozen=True)
class Blueprint:
    """What a defense may know of its task: architecture and recipe, but no data beyond its own half of the pool."""

    task: str
    recipe: Recipe
    shape: tuple[int, ...]
    """Shape of one input as the model takes it: (channels, height, width) or (features,)."""
    classes: int
    build: Callable[[], nn.Module]

    def model(self) -> nn.Module:
        """Return a fresh model, initialised from torch's global generator (use it inside `ctx.seeded`)."""
        return self.build()


@dataclass(frozen=True)
class Release:
    """All that a defender publishes."""

    model: nn.Module
    """Answers queries: float32 inputs (images in [0, 1]) -> logits (batch, classes), output filters included."""
    synthetic: Examples | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    """Numbers worth a place in the record: epsilon, diversity, final loss, ..."""
    notes: Mapping[str, Array] = field(default_factory=dict)
    """Arrays kept beside the release for pictures and audits; no attack sees them."""


@dataclass(frozen=True)
class Prepared:
    """What a data stage hands on: the examples to train on, and what it adds to the release."""

    examples: Examples
    synthetic: Examples | None = None
    """Generated examples that are published with the model."""
    facts: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Array] = field(default_factory=dict)


@runtime_checkable
class Defense(Protocol):
    """The whole way from private data to what is published; a class with one or more of three stages.

    `a+b+c` on the command line chains: the parts' `prepare`, one `fit`, the `filter` of what comes after it. Where no
    part trains, plain cross-entropy training is put in.

        def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Examples | Prepared  (data stage)
        def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release                 (training stage)
        def filter(self, task, model: nn.Module, examples, ctx) -> nn.Module                        (output filter)
                                                    the released model around the trained one, which it owns; the same
                                                    answer to the same query, whatever else is in its batch. With it:
        def filtered(self, task, model) -> nn.Module
                                                    the same around a model whose weights are not loaded yet

    What else it may have:

        from_members: ClassVar[bool] = True         its data stage must get the members themselves: it stands first
        relative_cost: float                        trainings of the task's model that it takes, for `--dry-run`
        def empty(self, task) -> nn.Module          the released model before its weights are loaded, where it is
                                                    not `training.classifier(task)`; BadOption for a task's model that
                                                    it cannot be made from is told before anything is trained
        def reuse(self, task, members, synthetic, ctx) -> Examples
                                                    the data stage of an attacker who has no generator but the
                                                    published synthetic examples (`lira:shadows=released`)
        publishes_synthetic: ClassVar[bool] = True  False where `fit` publishes no synthetic examples: then attacks on
                                                    them are known to be n/a before anything is trained
        trains_on_members: bool                     False where models see generated examples only: then there is
                                                    nothing to reuse them for
        def transform_inputs(self, task, notes, x, device) -> Array
                                                    inputs as this release's data stage moved those of members, from
                                                    the release's notes (`lira:inputs=transformed`)
    """

    name: ClassVar[str]


@dataclass(frozen=True)
class Needs:
    """A threat model: what an attack must be given. The harness gives that and no more (docs/design.md, rule 4)."""

    answers: Literal["logits", "labels", "none"] = "logits"
    """What the target answers to queries; none for an attack on published examples, which asks no model."""
    queries: int | Literal["task"] = 1
    """Aligned queries per example: 1 (as is), 2 (mirrored), 18 and 162 (shifted too); or as the task augments."""
    shadows: Literal["none", "adaptive", "undefended", "released"] = "none"
    """Shadow models: trained by the target's whole defense; without any; or by a defense's training stage, on the
    shadow's own half and the synthetic examples that the target published."""
    inputs: Literal["original", "transformed"] = "original"
    """What is queried: the examples, or what each model's own data stage makes of them (shadows with their own)."""
    examples: bool = False
    """The candidate inputs themselves."""
    reference: bool = False
    """The attacker's own labelled examples, disjoint from the pool, and the target's answers on them."""
    query: bool = False
    """Queries of the attacker's choice, to the target and to shadows."""
    model: bool = False
    """White box: the released model itself."""
    synthetic: bool = False
    """The synthetic examples that the defense publishes; with shadows, theirs too. A cell whose releases publish none
    is n/a."""
    training: bool = False
    """Models of the attacker's own: the task's architecture and recipe, and a context to train them in."""


class MembershipAttack(Protocol):
    """Evidence -> one score per example, higher = likelier member."""

    name: ClassVar[str]

    @property
    def threshold(self) -> float | None:
        """Scores at or above it mean "member", where the attack has such a natural point.

        A class attribute or a property that depends on options. With None, or without this attribute, the harness
        calibrates a threshold on shadow models that are not otherwise evidence.
        """
        ...

    @property
    def needs(self) -> Needs:
        """The threat model; a class attribute or a property that depends on options."""
        ...

    def score(self, evidence: Evidence) -> Array:
        """Return (examples,) finite floats."""
        ...

    # An attack whose paper has a number of its own that takes the truth may have `findings` as well:
    #
    #   def findings(self, evidence, scores, member) -> Mapping[str, float]
    #
    # of one target, given its (examples,) scores and membership; the record has each number's mean over targets, with
    # an interval. A number that is a share, or has other bounds, is a `privbench.intervals.Bounded`.


class ReconstructionAttack(Protocol):
    """Evidence -> images that look like the training data of the given classes (`Evidence.input_shape`)."""

    name: ClassVar[str]

    @property
    def needs(self) -> Needs:
        """The threat model."""
        ...

    def reconstruct(self, evidence: Evidence, classes: Array) -> Array:
        """Return (len(classes), height, width, channels) float32 in [0, 1]."""
        ...


Attack: TypeAlias = MembershipAttack | ReconstructionAttack


@dataclass(frozen=True)
class Measurement:
    """What an audit found."""

    values: Mapping[str, Estimate | float | int | str | None]
    """Named numbers, with intervals where there are any; None where the data cannot support one."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Small tables for people, by title: rows of column -> number or text."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    """What figures are drawn from; kept beside the record."""
    notes: Sequence[str] = ()
    """What must be said beside the numbers, a sentence each: how not to read them, what was left out and why."""


class Audit(Protocol):
    """A measurement of a population that is no attack.

    What else it may have:

        def compared(self, population) -> Sequence[Population]      further populations that are made before it
                                                                    measures; CellFailed where it cannot apply
    """

    name: ClassVar[str]

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Return what was found. Every release of the population is made, and has answered one query per example.

        `ctx` lends a device, seeds, progress, the reference and validation examples, and `kept` for what the audit
        trains. An audit that does not apply raises CellFailed, saying why.
        """
        ...
