"""Attacks: evidence in, membership scores or reconstructed images out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence
    from privbench.contracts.needs import Needs


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
    # an interval. A number that is a share, or has other bounds, is a `privbench.stats.intervals.Bounded`.


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
