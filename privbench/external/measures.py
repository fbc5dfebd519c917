"""Audits of a published data set made elsewhere: privbench's own, applied to a release without training."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from privbench import seeds
from privbench.contracts.context import Context
from privbench.errors import CellFailed
from privbench.external.result import GIVEN, outside
from privbench.grid.audits import fill
from privbench.records.audit_record import AuditRecord
from privbench.records.provenance import component, heading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privbench.aliases import Array
    from privbench.data.dataset import Examples
    from privbench.population.population import Population
    from privbench.records.parts import Data

MEASURES = ("expected-privacy-loss", "generation-quality")
"""Audits that use only members, non-members and the published examples."""


@dataclass(frozen=True, eq=False)
class OneRelease:
    """Substitute for a population, with one release, for such audits."""

    pool: Examples
    member: Array
    published: Examples
    reference: Examples
    seed: int
    models: int = 1
    device: str = "cpu"
    defense: Any = field(default_factory=lambda: SimpleNamespace(name=GIVEN))

    @property
    def dataset(self) -> OneRelease:
        """The data set, which has only the method `role`."""
        return self

    def role(self, name: str) -> Examples:
        """Return the examples of the pool or of the reference, the only roles."""
        if name not in ("pool", "reference"):
            raise CellFailed(f"it takes {name} examples, which a published set does not have.")
        found: Examples = getattr(self, name)
        return found

    def members(self, index: int) -> Array:  # noqa: ARG002 - a population's signature
        """Return (n,) bool over the pool."""
        return self.member

    def synthetic(self, index: int) -> Examples | None:  # noqa: ARG002 - a population's signature
        """Return the published examples."""
        return self.published


def chosen(audits: Iterable[Any] | str | None) -> list[Any]:
    """Return measurements, given as texts or objects; "all": the installed ones of MEASURES.

    Raises UnknownName or BadOption.
    """
    from privbench.plugins.loading import catalogue, resolve

    if isinstance(audits, str) and audits == "all":
        audits = [name for name in MEASURES if name in catalogue().of("audit")]
    given = [audits] if isinstance(audits, str) else audits
    return [resolve("audit", each) if isinstance(each, str) else each for each in given or ()]


def measured(
    audits: Iterable[Any], release: OneRelease, data: Data, command: str
) -> tuple[tuple[AuditRecord, dict[str, Array]], ...]:
    """Return a record of each audit with its arrays; a failed audit has its reason in the record."""
    return tuple(_one(each, release, data, command) for each in audits)


def _one(audit: Any, release: OneRelease, data: Data, command: str) -> tuple[AuditRecord, dict[str, Array]]:
    # An audit that uses more of a population than OneRelease has fails, with the reason in its record.
    context = Context(seed=seeds.derive(release.seed, "audit", audit.name), reference=release.reference)
    head = heading(outside("dataset"), data, outside(GIVEN), models=release.models, seed=release.seed, command=command)
    base = AuditRecord(**head, audit=component("audit", audit))
    return fill(base, audit, cast("Population", release), context)
