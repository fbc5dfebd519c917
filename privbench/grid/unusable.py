"""Records of tasks that cannot be loaded, beside others that can: failed ones, with the reason and no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench.grid.scoring import about
from privbench.records.audit_record import AuditRecord
from privbench.records.parts import Data
from privbench.records.provenance import component, failure, heading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privbench.grid.plan import Plan
    from privbench.records.record import Record

NOTHING = dict.fromkeys(("classes", "pool", "reference", "validation", "test", "duplicates"), 0)
"""Sizes of data that could not be loaded."""


def records(planned: Plan, command: str) -> Iterator[Record]:
    """Yield the records of the cells of such tasks."""
    grid = planned.grid
    for reason, head in _headings(planned, command):
        for attack in grid.attacks:
            yield about(head, attack, grid.targets or grid.models).sealed(**reason)


def audit_records(planned: Plan, audits: Sequence[Any], command: str) -> Iterator[AuditRecord]:
    """Yield the records of audits of such tasks."""
    for reason, head in _headings(planned, command):
        for audit in audits:
            yield AuditRecord(**head, audit=component("audit", audit)).sealed(**reason)


def _headings(planned: Plan, command: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Yield the reason and the heading of each task and defense."""
    grid = planned.grid
    settings: dict[str, Any] = {"models": grid.models, "seed": grid.seed, "salt": grid.salt, "device": grid.device}
    for task, why in planned.unusable.items():
        reason, data = failure(why), Data(name=task.name, fingerprint="", **NOTHING)
        for defense in grid.defenses:
            parts = component("task", task), data, component("defense", defense)
            yield reason, {**heading(*parts, **settings, command=command), **reason}
