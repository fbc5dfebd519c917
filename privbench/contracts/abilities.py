"""Abilities: the stages and optional methods that a component may have, as structural types.

`isinstance(part, Prepares)` is the one way to ask; `privbench/plugins/registration.py` refuses misspelt ones. An attack
is a `MembershipAttack` or a `ReconstructionAttack`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import Protocol, runtime_checkable

from privbench.contracts.traits import Traits
from privbench.errors import CellFailed, blamed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.contracts.context import Context
    from privbench.contracts.criterion import Criterion
    from privbench.contracts.evidence import Evidence
    from privbench.contracts.release import Prepared, Release
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples


@runtime_checkable
class Prepares(Protocol):
    """A defense with a data stage."""

    name: str

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Examples | Prepared:
        """Return what is trained on in place of the members, which stay as they are."""
        ...


@runtime_checkable
class Fits(Protocol):
    """A defense with a training stage."""

    name: str

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Return all that is published."""
        ...


@runtime_checkable
class Filters(Protocol):
    """A defense with an output filter."""

    name: str

    def filter(self, task: Blueprint, model: nn.Module, examples: Examples, ctx: Context) -> nn.Module:
        """Return the released model around the trained one, which it owns.

        The same query gets the same answer, whatever else is in its batch.
        """
        ...

    def filtered(self, task: Blueprint, model: nn.Module) -> nn.Module:
        """Return the same around a model whose weights are not loaded yet."""
        ...


@runtime_checkable
class BuildsEmpty(Protocol):
    """A defense whose released model is not `privbench.learn.classifier(task)`."""

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded. Raises BadOption for a model that does not serve."""
        ...


@runtime_checkable
class Reuses(Protocol):
    """A data stage that an attacker can imitate without a generator (`lira:shadows=released`)."""

    def reuse(self, task: Blueprint, members: Examples, synthetic: Examples, ctx: Context) -> Examples:
        """Return what is trained on, given the synthetic examples that the target published."""
        ...


@runtime_checkable
class TransformsInputs(Protocol):
    """A data stage that moves inputs in a way that an attacker can repeat (`lira:inputs=transformed`)."""

    def transform_inputs(self, task: Blueprint, notes: Mapping[str, Array], x: Array, device: str) -> Array:
        """Return inputs as the release's data stage moved those of members, from the release's notes."""
        ...


@runtime_checkable
class HasTraits(Protocol):
    """A defense that declares more of itself than its options."""

    @property
    def traits(self) -> Traits:
        """A class attribute, or a property that depends on options."""
        ...


@runtime_checkable
class HasCriteria(Protocol):
    """A defense that says when it did what it is meant to do."""

    @property
    def criteria(self) -> Sequence[Criterion]:
        """What the facts of its releases must be, each; a leaderboard marks a defense whose mean facts miss one."""
        ...


@runtime_checkable
class HasThreshold(Protocol):
    """A membership attack with a natural threshold; for the others the harness calibrates one on shadow models."""

    @property
    def threshold(self) -> float | None:
        """Scores at or above it mean "member". A class attribute or a property; None is no threshold."""
        ...


@runtime_checkable
class HasFindings(Protocol):
    """A membership attack with numbers of its own."""

    def findings(self, evidence: Evidence, scores: Array) -> Mapping[str, float]:
        """Return named numbers of one target, given its (examples,) scores; the truth is not told.

        The record has each number's mean over targets, with an interval. A number that is a share, or has other bounds,
        is a `privbench.stats.intervals.Bounded`.
        """
        ...


@runtime_checkable
class JudgesFindings(Protocol):
    """A membership attack whose numbers depend on the truth. Then `findings` may return arrays too."""

    def judged(self, found: Mapping[str, Any], scores: Array, member: Array) -> Mapping[str, float]:
        """Return named numbers of one target, given what `findings` returned, the scores, and (examples,) membership.

        It is called when the scores of all targets are in, without their evidence.
        """
        ...


@runtime_checkable
class Depicts(Protocol):
    """A task that says what its images show."""

    depicts: str
    """"faces" where a face detector can judge reconstructions."""


@runtime_checkable
class Compares(Protocol):
    """An audit of further populations."""

    def compared(self, population: Any) -> Sequence[Any]:
        """Return populations that are made before it measures. Raises CellFailed where it cannot apply."""
        ...


def traits_of(defense: Any) -> Traits:
    """Return what a defense declares. Raises CellFailed, with its name, where its `traits` fail or are none."""
    try:
        with blamed(defense):
            traits = defense.traits if isinstance(defense, HasTraits) else Traits()
    except CellFailed as error:
        raise CellFailed(f"{defense.name}: `traits`: {error}") from error
    if not isinstance(traits, Traits):
        raise CellFailed(f"{defense.name}: `traits` is {traits!r}; expected privbench.api.Traits.")
    return traits
