"""The statistics that the checks rest on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from privbench.testing.base import auc, auc_se, generators, rank_correlation


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


class _Cards:
    """A card's generators, of which there are as many as cards, and none before `init`."""

    def __init__(self):
        self.default_generators = ()

    def init(self):
        self.default_generators = self.default_generators or (torch.Generator(), torch.Generator())


def test_a_card_has_a_global_generator_too(monkeypatch):
    cards = _Cards()
    monkeypatch.setattr(torch, "cuda", cards)
    with generators(0, "It", "cuda"):
        pass
    first, second = cards.default_generators
    before = first.get_state()
    with pytest.raises(AssertionError, match="It uses the global random generator of torch on the GPU,"):  # noqa: SIM117
        with generators(0, "It", "cuda:0"):
            torch.rand(1, generator=first)
    assert torch.equal(first.get_state(), before)
    with generators(0, "It", "cuda"):
        torch.rand(1, generator=second)  # of another card
    with generators(0, "It"):
        torch.rand(1, generator=first)  # which nobody watches
