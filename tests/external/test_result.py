"""What audits of given arrays find."""

import subprocess
import sys

import numpy as np

from privbench.external.predictions import audit_predictions


def test_the_strongest_of_the_attacks_on_given_predictions_has_bands():
    rng = np.random.default_rng(0)
    labels, member = rng.integers(3, size=400), np.arange(400) % 2 == 0
    logits = rng.normal(size=(400, 3)) + 2 * member[:, None] * np.eye(3)[labels]
    audited = audit_predictions(logits=logits, labels=labels, membership=member, attack=["confidence", "entropy"])
    assert [record.selection.attacks for record in audited] == [["confidence", "entropy"]] * 2
    for record in audited:
        bands = record.selection.bands
        assert {"tpr@1%", "auc"} <= set(bands)
        if record.metrics.balanced_accuracy.value is not None:
            assert bands["balanced-accuracy"][0] <= record.metrics.balanced_accuracy.low
        assert bands["auc"][0] <= record.metrics.auc.low <= record.metrics.auc.high <= bands["auc"][1]
    (alone,) = audit_predictions(logits=logits, labels=labels, membership=member, attack="confidence")
    assert alone.selection is None


SCRIPT = """
from typing import ClassVar

import numpy as np

from privbench.api import Needs, component
from privbench.external import audit_predictions


@component
class Mine:
    "The logit of the label."

    name: ClassVar[str] = "mine"
    needs: ClassVar[Needs] = Needs()

    def score(self, evidence):
        return evidence.logits[np.arange(60), 0, evidence.labels]


rng = np.random.default_rng(0)
logits, labels, member = rng.normal(size=(60, 2)), rng.integers(0, 2, 60), np.arange(60) < 30
(record,) = audit_predictions(logits=logits, labels=labels, membership=member, attack=[Mine()])
print(record.status, record.reason)
"""


def test_an_attack_of_a_script_runs_in_it_without_a_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == "ok \n", done.stderr
