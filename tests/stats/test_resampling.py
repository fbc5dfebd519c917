import numpy as np
import pytest

from privbench.seeds import numpy_generator
from privbench.stats import resampling
from privbench.stats.resampling import multiplicities

BOTH = (np.full(30, 2), np.full(30, 2))


def drawn(trials, resamples, *purpose):
    return np.concatenate(list(multiplicities(trials, resamples, *purpose)))


def test_every_sample_has_as_many_draws_as_there_are_examples():
    weights = drawn(BOTH, 150, 0, "a")
    assert weights.shape == (150, 30)
    assert (weights.sum(axis=1) == 30).all()


def test_samples_follow_from_the_seed_and_the_purpose():
    assert (drawn(BOTH, 20, 0, "a") == drawn(BOTH, 20, 0, "a")).all()
    assert (drawn(BOTH, 20, 0, "a") != drawn(BOTH, 20, 0, "b")).any()
    assert (drawn(BOTH, 20, 0, "a") != drawn(BOTH, 20, 1, "a")).any()


@pytest.mark.parametrize("kept", [0, 10**6])
def test_kept_or_not_the_samples_are_those_of_the_generator(monkeypatch, kept):
    monkeypatch.setattr(resampling, "KEPT", kept)
    generator = numpy_generator(3, "x")
    naive = [np.bincount(generator.integers(30, size=30), minlength=30) for _ in range(70)]
    assert (drawn(BOTH, 70, 3, "x") == naive).all()


def test_each_sample_has_members_and_non_members():
    trials = (np.array([1, 0, 0]), np.array([0, 1, 1]))
    weights = drawn(trials, 100, 0)
    assert all((weights @ side > 0).all() for side in trials)
