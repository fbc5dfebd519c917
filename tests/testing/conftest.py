"""Run the contract checks of something."""

from __future__ import annotations

import pytest

from privbench.testing import checks_for


@pytest.fixture
def failures():
    """Run all checks; return {name of a failed check: its message}."""

    def run(made):
        return {check.name: told for check in checks_for(made) if (told := failure(check))}

    return run


@pytest.fixture
def failure_of():
    """Run the check of one name; return its message, or nothing where it passes."""

    def run(made, name):
        (check,) = (each for each in checks_for(made) if each.name == name)
        return failure(check)

    return run


def failure(check):
    assert check.description
    try:
        check.run()
    except AssertionError as error:
        told = str(error)
    else:
        return ""
    assert told, f"{check.name} fails without saying why"
    assert "\n" not in told
    return told
