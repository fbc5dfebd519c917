"""What audits of given arrays find."""

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
