"""Contract of audits: measurements of a population other than attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from privbench.contracts.context import Context
    from privbench.contracts.measurement import Measurement
    from privbench.population.population import Population


class Audit(Protocol):
    """A measurement of a population other than an attack.

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
