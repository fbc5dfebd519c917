"""Threat models in words: what `Needs` says, as the list, the record and the leaderboard print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privbench.contracts.needs import Needs


def threat_model(needs: Needs) -> str:
    """Return what an attacker is given, in words: "logits, 2 queries each, adaptive shadows".

    One query per example as it is, and no shadows, are the least that there is and go without saying. For a record
    `needs.queries` is the number that was asked; "task", of an attack by itself, leaves it to the task.
    """
    parts = {"labels": ["labels only"], "logits": ["logits"], "none": []}[needs.answers]
    if needs.queries == "task":
        parts.append("1 query each, or 2 where training mirrors images")
    elif needs.queries != 1:
        parts.append(f"{needs.queries} queries each")
    if needs.shadows == "released":
        parts.append("shadows trained on the target's synthetic examples")
    elif needs.shadows != "none":
        parts.append(f"{needs.shadows} shadows")
    if needs.inputs == "transformed":
        parts.append("inputs transformed as in training")
    extras = {
        "the examples themselves": needs.examples,
        "reference examples": needs.reference,
        "chosen queries": needs.query,
        "white box": needs.model,
        "synthetic data": needs.synthetic,
        "models of its own": needs.training,
    }
    parts.extend(words for words, needed in extras.items() if needed)
    return ", ".join(parts) or "nothing"
