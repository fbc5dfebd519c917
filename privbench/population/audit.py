"""Contract of audits: measurements of a population other than attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from privbench.contracts.context import Context
    from privbench.contracts.measurement import Measurement
    from privbench.population.population import Population


@runtime_checkable
class Audit(Protocol):
    """A measurement of a population other than an attack.

    It may have `compared(population)`: see `privbench/contracts/abilities.py`.
    """

    name: ClassVar[str]

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Return what was found. Every release of the population is made, and has answered one query per example.

        `ctx` lends a device, seeds, progress, the reference and validation examples, and `kept` for what the audit
        trains. An audit that does not apply raises CellFailed, saying why.
        """
        ...
