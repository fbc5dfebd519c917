"""What the tests share: evidence with a planted leak, and ART, imported once for all."""

import warnings

import pytest


@pytest.fixture(autouse=True)
def _as_on_a_fresh_machine(monkeypatch):
    """Nothing of the person's who runs the tests."""
    for name in ("COLUMNS", "PRIVBENCH_DATA", "PRIVBENCH_DEBUG", "PRIVBENCH_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _art():
    """Import ART, of which some versions warn of what others deprecate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import art.attacks.inference.membership_inference
        import art.attacks.inference.model_inversion
        import art.estimators.classification  # noqa: F401 - imported for what the import says
