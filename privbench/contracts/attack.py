"""Attacks: evidence in, membership scores or reconstructed images out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence
    from privbench.contracts.needs import Needs


@runtime_checkable
class MembershipAttack(Protocol):
    """Evidence -> one score per example, higher = likelier member.

    It may have a `threshold` and `findings` of its own: see `privbench/contracts/abilities.py`.
    """

    name: ClassVar[str]

    @property
    def needs(self) -> Needs:
        """The threat model; a class attribute or a property that depends on options."""
        ...

    def score(self, evidence: Evidence) -> Array:
        """Return (examples,) finite floats."""
        ...


@runtime_checkable
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
