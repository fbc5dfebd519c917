"""Contract checks of audits, on a population of a toy task whose defense publishes near copies of its members."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import Measurement, Prepared, component
from privbench.contracts.abilities import Compares
from privbench.data.dataset import Examples
from privbench.errors import PrivbenchError
from privbench.options.fields import build
from privbench.stats.intervals import Estimate
from privbench.testing.base import Check, digest, generators, require
from privbench.testing.toy import ToyTask

if TYPE_CHECKING:
    from privbench.api import Blueprint, Context
    from privbench.population.population import Population
    from privbench.records.audit_record import AuditRecord

MODELS, POOL, EPOCHS = 6, 240, 3
JITTER = 12
"""Maximum change of a pixel, in [0, 255], between a member and its published copy."""


def audit_checks(audit: Any, device: str) -> list[Check]:
    """Return the checks of an audit. device: device of the models."""
    tried = _Audit(audit, device)
    return [
        Check("measurement", "It returns a Measurement: finite numbers, Estimates, text, or None.", tried.measurement),
        Check(
            "reproducible",
            "The same population gives the same record, bit for bit; no global generator is used.",
            tried.reproducible,
        ),
        Check("population-unmutated", "The examples and the releases are not modified.", tried.unmutated),
    ]


@component
class Leaky:
    """Defense that publishes near copies of the members and trains on members and copies."""

    name: ClassVar[str] = "leaky"
    paper: ClassVar[str] = "none"

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Prepared:  # noqa: ARG002 - the contract
        """Return the members, and copies of them with small noise."""
        noise = ctx.rng("noise").integers(-JITTER, JITTER + 1, members.x.shape)
        copies = Examples(np.clip(members.x.astype(int) + noise, 0, 255).astype(np.uint8), members.y)
        return Prepared(members, synthetic=copies)


class _Audit:
    def __init__(self, audit: Any, device: str) -> None:
        self.audit, self.device = audit, device

    @cached_property
    def population(self) -> Population:
        """The population, trained, as are the populations that it is compared with."""
        from privbench.population.composition import chain
        from privbench.population.population import Population
        from privbench.population.releases import make
        from privbench.store.store import Store

        task = build(ToyTask, {"pool": POOL, "epochs": EPOCHS})
        folder = tempfile.mkdtemp(prefix="privbench-check-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        store = Store(Path(folder))
        population = Population(task, task.load(), chain([Leaky()]), MODELS, 0, self.device, store)
        others = self.audit.compared(population) if isinstance(self.audit, Compares) else ()
        for each in (population, *others):
            for job in each.missing([1]):
                make(job, lambda _done, _stage: None)
        return population

    def measure(self) -> AuditRecord:
        from privbench.grid.audits import measure

        record, _ = measure(self.audit, self.population)
        require(
            record.status == "ok",
            f"It fails on {MODELS} models of a toy task whose defense publishes copies: {record.reason}",
        )
        return record

    def measurement(self) -> None:
        from privbench.contracts.context import Context

        population = self.population
        reference, validation = population.dataset.role("reference"), population.dataset.role("validation")
        try:
            found = self.audit.measure(population, Context(0, self.device, reference, validation))
        except PrivbenchError as error:
            raise AssertionError(f"It fails on a toy task whose defense publishes copies: {error}") from error
        require(
            isinstance(found, Measurement), f"It returns {type(found).__qualname__}, not privbench.api.Measurement."
        )
        require(found.values, "It returns no values.")
        for name, value in found.values.items():
            fine = value is None or isinstance(value, Estimate | int | float | str | np.generic)
            require(
                fine, f"The value {name!r} is {type(value).__qualname__}; give an Estimate, a number, text or None."
            )
            if isinstance(value, float):
                require(np.isfinite(value), f"The value {name!r} is {value}; give None, with the reason in the notes.")
        require(not isinstance(found.notes, str), "Its notes are a single string; give a list of sentences.")

    def reproducible(self) -> None:
        digests = []
        for state, watched in ((1, ""), (2, "The audit")):
            with generators(state, watched, self.device):
                digests.append(self.measure().digest)
        require(digests[0] == digests[1], "A second measurement of the same population gives a different record.")

    def unmutated(self) -> None:
        examples = self.population.dataset.examples
        before = digest([examples.x, examples.y])
        self.measure()
        require(digest([examples.x, examples.y]) == before, "The audit changed the examples; work on a copy.")
        kept = self.population.sound(range(MODELS))
        require(len(kept) == MODELS, "The audit removed or changed a release in the store.")
