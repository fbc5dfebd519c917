"""Attacks of the Adversarial Robustness Toolbox (ART), as a plugin of privbench: how to wrap a foreign library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.api import Attack


@hookimpl
def register_attacks() -> Sequence[type[Attack]]:
    """Return the attacks; importing their modules loads neither ART nor torch, which takes seconds."""
    from privbench_art.black_box import ArtBlackBox
    from privbench_art.mi_face import ArtMIFace
    from privbench_art.rule_based import ArtRuleBased

    return [ArtBlackBox, ArtMIFace, ArtRuleBased]
