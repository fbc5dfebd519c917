"""Every check of a reconstruction attack bites."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pytest

from privbench.api import Needs, component, option


@component
class Draws:
    """A reconstruction attack that returns what is drawn from its own generator."""

    name: ClassVar[str] = "draws"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(model=True)
    fault: Literal["", "flat", "double", "nan", "range", "unseeded", "undeclared"] = option("", "what is wrong")

    def reconstruct(self, evidence, classes):
        rng = np.random.default_rng() if self.fault == "unseeded" else evidence.rng()
        shape = (len(classes), 64) if self.fault == "flat" else (len(classes), 8, 8, 1)
        images = rng.random(shape, dtype=np.float64 if self.fault == "double" else np.float32)
        images[0, 0] = {"nan": np.nan, "range": 2}.get(self.fault, 0)
        assert evidence.model
        assert self.fault != "undeclared" or evidence.logits is not evidence.x
        return images


def test_an_honest_reconstruction_passes(failures):
    assert failures(Draws()) == {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("flat", "have shape (4, 64); expected (4, 8, 8, 1)"),
        ("double", "are float64; expected float32"),
        ("nan", "8 of 256 pixels are NaN"),
        ("range", "to 2; expected 0 to 1"),
        ("unseeded", "4 of 4 results differ"),
        ("undeclared", "does not declare Needs(examples=True)"),
    ],
)
def test_a_faulty_reconstruction_is_caught(failures, fault, message):
    assert any(message in told for told in failures(Draws(fault=fault)).values())
