"""Which records may stand in one ranking: the same cells' settings, made by the same code on the same kind of machine.

Numbers that differ because the code, a library or the processor differ would pass for a difference between defenses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from privbench.records.audit_record import AuditRecord
    from privbench.records.record import Record

INDIFFERENT = {"python", "platform", "threads"}
"""What a record's environment holds that changes no number."""
INTERVALS = "95 % intervals"
SHOWN = 8
"""How much of a SHA-256 is shown."""


def latest(records: Iterable[Record]) -> list[Record]:
    """Return one record per cell and way of making it, the newest, in the order in which they first come."""
    found: dict[tuple[Any, ...], Record] = {}
    for record in records:
        key = made_as(record)
        other = found.get(key)
        if other is None or age(record) > age(other):
            found[key] = record
    return list(found.values())


def made_as(record: Record) -> tuple[Any, ...]:
    """Return what two records share of which only one can stand in a table: cell, models and circumstances."""
    return (record.family, record.identity, record.defense.source, tuple(circumstances(record).items()))


def age(record: Record) -> tuple[bool, dt.datetime | None]:
    """Return what sorts records from the oldest to the newest; one without a date is older than any."""
    return (record.created is not None, record.created)


def setting(record: Record) -> tuple[Any, ...]:
    """Return what the cells of one table share: task, data, numbers of models and targets, halves, and the device."""
    numbers = (record.models, record.targets, record.seed, record.salt, record.device)
    return (title(record), record.task.spec, record.data.fingerprint, *numbers)


def circumstances(record: Record) -> dict[str, str]:
    """Return what else the records of one ranking share: versions of code and libraries, and the machine."""
    found = {name: value for name, value in sorted(record.environment.items()) if name not in INDIFFERENT}
    if "processor" not in found and "platform" in record.environment:
        found["platform"] = record.environment["platform"]  # all that an older record knows of its machine
    return {"schema": str(record.schema_version), "code of the task": record.task.source[:SHOWN], **found}


def generations(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Return the records of a setting in groups that may be ranked, each with how it differs from the others.

    In words: "torch 2.14.1, schema 2"; of a single group there is nothing to say.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(circumstances(record).items()), []).append(record)
    differing = differences(records)
    words = [", ".join(f"{name} {dict(group).get(name, 'unknown')}" for name in differing) for group in groups]
    return list(zip(words, groups.values(), strict=True))


def differences(records: Sequence[Record]) -> list[str]:
    """Return the names of the circumstances in which records of a setting differ."""
    facts = [circumstances(record) for record in records]
    names = dict.fromkeys(name for each in facts for name in each)
    return [name for name in names if len({each.get(name) for each in facts}) > 1]


def title(record: Record) -> str:
    """Return a task's name as a person would say it: its data set, and the options that differ from default."""
    name, colon, options = record.task.spec.partition(":")
    return (name if record.data.name == name else f"{name}({record.data.name})") + colon + options


def setting_text(records: Sequence[Record]) -> str:
    """Return the setting of records in words."""
    record = records[0]
    copies = f", {record.data.duplicates} duplicated examples" if record.data.duplicates else ""
    salt = f", salt {record.salt[:SHOWN]}..." if record.salt else ""
    return (
        f"{_count(record.models, 'model')}, {_count(record.targets, 'target')}, pool of {record.data.pool}, "
        f"{_members(records)}{copies}, seed {record.seed}{salt}, {device_text(records)}; "
        f"{INTERVALS}"
    )


def device_text(records: Sequence[Record | AuditRecord]) -> str:
    """Return the device of records, with the card where it is one."""
    cards = {record.environment.get("card") for record in records}
    return f"{records[0].device} ({cards.pop()})" if len(cards) == 1 and None not in cards else records[0].device


def _members(records: Sequence[Record]) -> str:
    """Return how many of the pool are members of one target; a record that failed may not know."""
    inside, outside = next((found for record in records if sum(found := _counted(record))), (1, 1))
    pool = records[0].data.pool
    members = pool * inside / (inside + outside)
    if abs(members - pool / 2) <= 0.5:  # noqa: PLR2004 - half of an odd pool is no whole number
        return "half of it members"
    return f"{members:.0f} of them members"


def _counted(record: Record) -> tuple[int, int]:
    """Return members and non-members, of all targets together; zeros of a record that has no numbers.

    A published set has no accuracies, only scores.
    """
    if record.utility:
        return record.utility.train_accuracy.n, record.utility.nonmember_accuracy.n
    if record.metrics and record.metrics.tpr_at_fpr:
        return record.metrics.tpr_at_fpr[0].members, record.metrics.tpr_at_fpr[0].nonmembers
    return 0, 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
