"""Who merely counts shadows must learn nothing; where a population is built wrongly, he learns everything."""

from __future__ import annotations

import numpy as np
import pytest

from privbench.testing import CountOnly, check_population_membership


def halves(rng, models, n):
    first = np.array([rng.permutation(n) < n // 2 for _ in range(models // 2)])
    return np.stack([first, ~first], axis=1).reshape(models, n)


def targets(member, shadows):
    return [(member[shadows(target)], member[target]) for target in range(len(member))]


def test_pairs_without_the_partner_tell_nothing():
    member = halves(np.random.default_rng(0), 16, 400)
    check_population_membership(targets(member, lambda t: [m for m in range(16) if m // 2 != t // 2]))


def test_keeping_the_partner_tells_everything():
    member = halves(np.random.default_rng(0), 16, 400)
    with pytest.raises(AssertionError, match=r"reaches AUC 1\.000"):
        check_population_membership(targets(member, lambda t: [m for m in range(16) if m != t]))


def test_each_example_in_exactly_half_of_the_models_tells_everything():
    member = np.random.default_rng(0).random((16, 400)).argsort(axis=0) < 8
    with pytest.raises(AssertionError, match=r"reaches AUC 1\.000"):
        check_population_membership(targets(member, lambda t: [m for m in range(16) if m != t]))


def test_counting_finds_nothing_in_planted_evidence(failures):
    assert failures(CountOnly()).keys() == {"finds-a-leak"}
