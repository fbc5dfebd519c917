"""Notes on records: warnings and remarks as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench.population.claims import EPSILON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.records.record import Record


def collapse(record: Record) -> str:
    """Return a warning if the generators of a defense lost the diversity of some classes; else ""."""
    collapsed = record.facts.get("collapsed_classes", 0.0)
    averaged = " on average" if record.claims is None else ""
    return (
        f"its generators collapsed on {collapsed:.1f} of {record.data.classes} classes{averaged}" if collapsed else ""
    )


def unmet(record: Record) -> str:
    """Return a warning if the releases of a defense miss criteria of its own; else ""."""
    whose = "its models' mean facts" if record.claims is None else "its model's facts"
    return f"it did not do what it is meant to, by {whose}: {', '.join(record.unmet)}" if record.unmet else ""


def claims(record: Record) -> str:
    """Return a warning if the releases of a defense claim different epsilons; else ""."""
    stated = record.claims
    if stated is None or (stated.epsilon_smallest == stated.epsilon_largest and EPSILON in record.facts):
        return ""
    shown = "the table has the largest" if EPSILON in record.facts else "others claim none, so that the table has none"
    return (
        f"its models claim epsilon {stated.epsilon_smallest:.3g} to {stated.epsilon_largest:.3g}, median "
        f"{stated.epsilon_median:.3g}; {shown}, and an epsilon that depends on the data is no promise"
    )


def findings(record: Record) -> str:
    """Return "memorisation_rate 0.521 [0.501, 0.541], ..."; without brackets if there is no interval."""
    texts = []
    for name, found in record.findings.items():
        spread = "" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]"
        texts += [f"{name} {found.value:.3f}{spread}"] if found.value is not None else []
    return ", ".join(texts)


def fault(record: Record) -> str:
    """Return why one attack has no results; "" if it has."""
    return "".join(faults([record]))


def faults(records: Sequence[Record]) -> list[str]:
    """Return why attacks have no results, grouped by reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for record in records:
        if record.status != "ok":
            reasons.setdefault((record.status, record.reason), []).append(record.attack.spec)
    return [f"{', '.join(names)} {_verb(status, len(names))}: {reason}" for (status, reason), names in reasons.items()]


def _verb(status: str, attacks: int) -> str:
    return "failed" if status == "failed" else "does not apply" if attacks == 1 else "do not apply"
