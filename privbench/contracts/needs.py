"""Threat models: what an attack must be given."""

from __future__ import annotations

from typing import Literal

from privbench.contracts.declarations import declaration


@declaration
class Needs:
    """A threat model: what an attack must be given. The harness gives that and no more (docs/design.md, rule 4)."""

    answers: Literal["logits", "labels", "none"] = "logits"
    """What the target answers to queries; none for an attack on published examples, which asks no model."""
    queries: int | Literal["task"] = 1
    """Aligned queries per example: 1 (as is), 2 (mirrored), 18 and 162 (shifted too); or as the task augments."""
    shadows: Literal["none", "adaptive", "undefended", "released"] = "none"
    """Shadow models: trained by the target's whole defense; without any; or by a defense's training stage, on the
    shadow's own half and the synthetic examples that the target published."""
    inputs: Literal["original", "transformed"] = "original"
    """What is queried: the examples, or what each model's own data stage makes of them (shadows with their own)."""
    examples: bool = False
    """The candidate inputs themselves."""
    reference: bool = False
    """The attacker's own labelled examples, disjoint from the pool, and the target's answers on them."""
    query: bool = False
    """Queries of the attacker's choice, to the target and to shadows."""
    model: bool = False
    """White box: the released model itself."""
    synthetic: bool = False
    """The synthetic examples that the defense publishes; with shadows, theirs too. A cell whose releases publish none
    is n/a."""
    training: bool = False
    """Models of the attacker's own: the task's architecture and recipe, and a context to train them in."""
