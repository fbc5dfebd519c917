"""An honest attack for each kind of evidence shows that the planted leak can be seen in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from privbench.api import Needs
from privbench.seeds import fresh_salt
from privbench.testing import synthetic_evidence
from privbench.testing.attacks import attack_checks


def _labels_only(evidence):
    return (evidence.predictions[:, 0] == evidence.labels) * 1.0


def _queried_labels(evidence):
    return (evidence.query(evidence.x) == evidence.labels) * 1.0


def _queried(evidence):
    return np.take_along_axis(evidence.query(evidence.x / np.float32(255)), evidence.labels[:, None], 1)[:, 0]


def _queried_shadows(evidence):
    mean = np.mean([evidence.shadow_query(s, evidence.x) for s in range(len(evidence.shadow_logits))], axis=0)
    return np.take_along_axis(evidence.query(evidence.x) - mean, evidence.labels[:, None], 1)[:, 0]


def _white_box(evidence):
    x = torch.from_numpy(evidence.x.transpose(0, 3, 1, 2) / np.float32(255))
    loss = nn.functional.cross_entropy(evidence.model(x), torch.from_numpy(evidence.labels.copy()), reduction="none")
    return -loss.detach().numpy()


def _nearest_synthetic(evidence):
    x, synthetic = (each.reshape(len(each), -1).astype(np.float64) for each in (evidence.x, evidence.synthetic.x))
    return -((x[:, None] - synthetic) ** 2).sum(-1).min(axis=1)


def _reference_quantile(evidence):
    def own(answered):
        return np.take_along_axis(answered.logits[:, 0], answered.labels[:, None], 1)[:, 0]

    return (own(evidence)[:, None] > own(evidence.reference)).mean(axis=1)


def _aligned_queries(evidence):
    return np.take_along_axis(evidence.logits, evidence.labels[:, None, None], 2).mean(axis=(1, 2), dtype=np.float64)


@pytest.mark.parametrize(
    ("function", "needs"),
    [
        (_labels_only, Needs(answers="labels")),
        (_queried_labels, Needs(answers="labels", query=True, examples=True)),
        (_queried, Needs(query=True, examples=True)),
        (_queried_shadows, Needs(query=True, examples=True, shadows="adaptive")),
        (_white_box, Needs(model=True, examples=True)),
        (_nearest_synthetic, Needs(synthetic=True, examples=True)),
        (_reference_quantile, Needs(reference=True)),
        (_aligned_queries, Needs(queries="task")),
        (_aligned_queries, Needs(queries=18)),
    ],
)
def test_the_planted_leak_shows_in_every_kind_of_evidence(function, needs):

    class Attack:
        """Enough of an attack for the checks that look at what it finds."""

        def score(self, evidence):
            return function(evidence)

    Attack.needs = needs
    found = {check.name: check.run() for check in attack_checks(Attack(), fresh_salt(), "cpu")}
    assert {"finds-a-leak", "finds-no-leak", "example-order"} <= found.keys()


def test_planted_evidence_is_what_it_says():
    needs = Needs(shadows="adaptive", queries=2, reference=True)
    evidence, member = synthetic_evidence(needs, leak=3, models=8, examples=100, classes=5, seed=1)
    assert (member.shape, member.sum(), evidence.classes) == ((100,), 50, 5)
    assert evidence.logits.shape == (100, 2, 5)
    assert evidence.shadow_logits.shape == (6, 100, 2, 5)
    np.testing.assert_array_equal(evidence.shadow_member.sum(axis=0), 3)
    rows = np.arange(100)
    own = evidence.shadow_logits[:][:, rows, 0, evidence.labels]
    gap = own[evidence.shadow_member].mean() - own[~evidence.shadow_member].mean()
    assert gap == pytest.approx(3, abs=0.3)
    assert len(evidence.reference.labels) == 50
    again, _ = synthetic_evidence(needs, leak=3, models=8, examples=100, classes=5, seed=1)
    np.testing.assert_array_equal(evidence.logits, again.logits)
