"""What the tests share: evidence made by hand, of answers that are given as numbers."""

import numpy as np
import pytest


class Answered:
    """Examples on which the signals of the target and of shadows are whatever a test says, under any function."""

    def __init__(self, own, shadow=None, labels=None):
        self.own, self.shadow = np.asarray(own, dtype=float), shadow
        self.labels = np.zeros(len(self.own), dtype=np.int64) if labels is None else np.asarray(labels)

    def signals(self, _function):
        return self.own.reshape(len(self.own), -1) if self.own.ndim == 1 else self.own

    @property
    def shadow_logits(self):
        return self.shadow

    def shadow_signals(self, _function):
        shadow = np.asarray(self.shadow, dtype=float)
        return shadow if shadow.ndim == 3 else shadow[:, :, None]


class Evidence(Answered):
    """What a membership attack asks of evidence: signals, memberships of shadows, reference examples."""

    def __init__(self, own, shadow=None, member=None, *, reference=None, labels=None):
        super().__init__(own, shadow, labels)
        self.shadow_member = None if member is None else np.asarray(member, dtype=bool)
        self.reference = reference


@pytest.fixture(scope="session")
def made():
    """Return the two classes, of which tests make evidence."""

    class Made:
        pass

    Made.Answered, Made.Evidence = Answered, Evidence
    return Made


@pytest.fixture(autouse=True)
def _as_on_a_fresh_machine(monkeypatch):
    """Nothing of the person's who runs the tests."""
    for name in ("COLUMNS", "PRIVBENCH_DATA", "PRIVBENCH_DEBUG", "PRIVBENCH_STORE"):
        monkeypatch.delenv(name, raising=False)
