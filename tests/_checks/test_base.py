"""The statistics that the checks rest on."""

from __future__ import annotations

import numpy as np
import pytest

from privbench._checks.base import auc, auc_se, rank_correlation


def test_auc_agrees_with_its_definition():
    rng = np.random.default_rng(0)
    scores, member = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    inside, outside = scores[member][:, None], scores[~member]
    assert auc(scores, member) == pytest.approx(((inside > outside) + (inside == outside) / 2).mean())


def test_auc_se_is_the_spread_of_aucs_by_chance():
    rng = np.random.default_rng(0)
    member = np.arange(40) < 15
    drawn = [auc(rng.random(40), member) for _ in range(2000)]
    assert np.std(drawn) == pytest.approx(auc_se(member), rel=0.05)


def test_rank_correlation():
    x = np.array([1.0, 2, 3, 4])
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert rank_correlation(x, -x) == pytest.approx(-1)
    assert rank_correlation(x, np.zeros(4)) == 0
    assert rank_correlation(np.ones(4), np.zeros(4)) == 1
