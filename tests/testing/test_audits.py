"""Audits that break a promise are found out, by the check of that promise."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from privbench.api import Measurement, component, option
from privbench.errors import CellFailed
from privbench.testing import checks_for


@component
class Faulty:
    """An audit with one fault, or none."""

    name: ClassVar[str] = "faulty"
    paper: ClassVar[str] = "none"
    fault: str = option("", "what is wrong with it")

    def measure(self, population, ctx):
        if self.fault == "fails":
            raise CellFailed("not today")
        value = 0.5
        if self.fault == "nan":
            value = float("nan")
        elif self.fault == "odd":
            value = [1, 2]
        elif self.fault == "random":
            value = float(np.random.rand())  # noqa: NPY002
        elif self.fault == "mutates":
            population.dataset.examples.x[0] ^= 1
        values = {} if self.fault == "empty" else {"value": value}
        return values if self.fault == "no-measurement" else Measurement(values)


BROKEN = {
    "fails": ("measurement", "not today"),
    "nan": ("measurement", "is nan"),
    "odd": ("measurement", "is list"),
    "empty": ("measurement", "no values"),
    "no-measurement": ("measurement", "returns dict"),
    "random": ("reproducible", "global random generator of NumPy"),
    "mutates": ("population-unmutated", "changed the examples"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_found(fault):
    name, text = BROKEN[fault]
    check = next(each for each in checks_for(Faulty(fault=fault)) if each.name == name)
    with pytest.raises(AssertionError, match=text):
        check()


def test_an_honest_audit_passes():
    checks = checks_for(Faulty())
    assert {"measurement", "reproducible", "population-unmutated", "documented"} <= {check.name for check in checks}
    for check in checks:
        check()
