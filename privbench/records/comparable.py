"""Comparability of records: the same settings, with the same code on the same kind of machine, for one ranking.

Differences due to code, a library or the processor would otherwise look like differences between defenses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from privbench.records.audit_record import AuditRecord
    from privbench.records.record import Record

INDIFFERENT = {"python", "platform", "threads"}
"""Entries of a record's environment that do not affect results."""
INTERVALS = "95 % intervals"
SHOWN = 8
"""Number of displayed digits of a SHA-256."""


def latest(records: Iterable[Record]) -> list[Record]:
    """Return the newest record per cell and circumstances, in the order of their first occurrence.

    A record of a task that could not be loaded is left out where another record of its cell knows the data.
    """
    found: dict[tuple[Any, ...], Record] = {}
    for record in records:
        key = made_as(record)
        other = found.get(key)
        if other is None or age(record) > age(other):
            found[key] = record
    known = {_without_data(record) for record in found.values() if record.data.fingerprint}
    return [each for each in found.values() if each.data.fingerprint or _without_data(each) not in known]


def _without_data(record: Record) -> tuple[Any, ...]:
    task, _, *rest = record.identity
    return (record.family, task, *rest)


def made_as(record: Record) -> tuple[Any, ...]:
    """Return the key of records of which only one can be in a table: cell, models and circumstances."""
    return (record.family, record.identity, record.defense.source, tuple(circumstances(record).items()))


def age(record: Record) -> tuple[bool, dt.datetime | None]:
    """Return a sort key from the oldest to the newest record; one without a date is the oldest."""
    return (record.created is not None, record.created)


def setting(record: Record) -> tuple[Any, ...]:
    """Return the common properties of a table's cells: task, data, numbers of models and targets, halves, device."""
    numbers = (record.models, record.targets, record.seed, record.salt, record.device)
    return (title(record), record.task.spec, record.data.fingerprint, *numbers)


def circumstances(record: Record) -> dict[str, str]:
    """Return the other common properties of a ranking's records: versions of code and libraries, and the machine."""
    found = {name: value for name, value in sorted(record.environment.items()) if name not in INDIFFERENT}
    if "processor" not in found and "platform" in record.environment:
        found["platform"] = record.environment["platform"]  # the only information on the machine in an older record
    return {"schema": str(record.schema_version), "code of the task": record.task.source[:SHOWN], **found}


def generations(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Return the records of a setting in groups that may be ranked, each with its differences from the others.

    As text: "torch 2.14.1, schema 2"; empty for a single group.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(circumstances(record).items()), []).append(record)
    differing = differences(records)
    words = [", ".join(f"{name} {dict(group).get(name, 'unknown')}" for name in differing) for group in groups]
    return list(zip(words, groups.values(), strict=True))


def differences(records: Sequence[Record]) -> list[str]:
    """Return the names of the circumstances that differ between records of a setting."""
    facts = [circumstances(record) for record in records]
    names = dict.fromkeys(name for each in facts for name in each)
    return [name for name in names if len({each.get(name) for each in facts}) > 1]


def title(record: Record) -> str:
    """Return a readable name of a task: its data set, and the options that differ from the defaults."""
    name, colon, options = record.task.spec.partition(":")
    return (name if record.data.name == name else f"{name}({record.data.name})") + colon + options


def setting_text(records: Sequence[Record]) -> str:
    """Return a description of the setting of records."""
    record = records[0]
    pool = f"pool of {record.data.pool}, {_members(records)}" if record.data.fingerprint else "data not loaded"
    copies = f", {record.data.duplicates} duplicated examples" if record.data.duplicates else ""
    salt = f", salt {record.salt[:SHOWN]}..." if record.salt else ""
    return (
        f"{_count(record.models, 'model')}, {_count(record.targets, 'target')}, {pool}"
        f"{copies}, seed {record.seed}{salt}, {device_text(records)}; "
        f"{INTERVALS}"
    )


def device_text(records: Sequence[Record | AuditRecord]) -> str:
    """Return the device of records, with the model of a card."""
    cards = {record.environment.get("card") for record in records}
    return f"{records[0].device} ({cards.pop()})" if len(cards) == 1 and None not in cards else records[0].device


def _members(records: Sequence[Record]) -> str:
    """Return the number of pool examples that are members of one target; unknown for some failed records."""
    inside, outside = next((found for record in records if sum(found := _counted(record))), (1, 1))
    pool = records[0].data.pool
    members = pool * inside / (inside + outside)
    if abs(members - pool / 2) <= 0.5:  # noqa: PLR2004 - half of an odd pool is no whole number
        return "half of it members"
    return f"{members:.0f} of them members"


def _counted(record: Record) -> tuple[int, int]:
    """Return the numbers of members and non-members, over all targets; zeros for a record without results.

    A published set has no accuracies, only scores.
    """
    if record.utility:
        return record.utility.train_accuracy.n, record.utility.nonmember_accuracy.n
    if record.metrics and record.metrics.tpr_at_fpr:
        return record.metrics.tpr_at_fpr[0].members, record.metrics.tpr_at_fpr[0].nonmembers
    return 0, 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
