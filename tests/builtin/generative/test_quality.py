import numpy as np
import pytest

from privbench.builtin.generative.quality import quality
from privbench.data.dataset import Examples


def draws(n, seed, classes=3, spread=30):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = 60 + 60 * y[:, None, None, None] + rng.normal(0, spread, (n, 4, 4, 1))
    return Examples(np.clip(x, 0, 255).astype(np.uint8), y)


def test_fresh_draws_are_as_diverse_as_members_and_no_copies():
    facts = quality(draws(600, 0), draws(600, 1))
    assert facts["diversity"] == pytest.approx(1, abs=0.1)
    assert facts["collapsed_classes"] == 0
    assert facts["nearest_member"] == pytest.approx(1, abs=0.1)
    assert facts["copies"] < 0.05


def test_copies_are_told():
    members = draws(300, 0)
    facts = quality(members, members[np.arange(0, 300, 3) + np.arange(100) % 3])
    assert facts["copies"] == 1
    assert facts["nearest_member"] == 0


def test_nearly_copies_are_told():
    members = draws(300, 0)
    near = Examples(members.x ^ 1, members.y)  # the lowest bit of every pixel
    facts = quality(members, near)
    assert facts["copies"] == 1
    assert 0 < facts["nearest_member"] < 0.1


def test_one_collapsed_class_is_told():
    real, fake = draws(600, 0), draws(600, 1)
    x = fake.x.copy()
    x[fake.y == 1] = x[fake.y == 1][:1]
    facts = quality(real, Examples(x, fake.y))
    assert facts["diversity"] == 0
    assert facts["collapsed_classes"] == 1


def test_floats_and_bytes_agree():
    real, fake = draws(90, 0), draws(90, 1)
    scaled = Examples(real.x.astype(np.float32) / np.float32(255), real.y)
    assert quality(scaled, fake) == pytest.approx(quality(real, fake), rel=1e-4)


def test_distances_by_hand():
    real = Examples(np.array([0, 51, 153], dtype=np.uint8).reshape(3, 1, 1, 1), np.zeros(3, dtype=np.int64))
    fake = Examples(np.array([90, 214], dtype=np.uint8).reshape(2, 1, 1, 1), np.zeros(2, dtype=np.int64))
    facts = quality(real, fake)
    # In 255ths: members are 51, 153 and 102 apart, nearest 51, 51, 102; generated ones 124, nearest 39, 61.
    expected = {"diversity": 124 / 102, "collapsed_classes": 0, "copies": 0.5, "nearest_member": 50 / 51}
    assert facts == pytest.approx(expected, rel=1e-5)


def test_classes_too_small_to_tell_are_left_out():
    real = Examples(np.zeros((4, 2, 2, 1), dtype=np.uint8), np.array([0, 1, 1, 2]))
    assert quality(real, draws(1, 0, classes=1)) == {}
    facts = quality(real, Examples(np.full((2, 2, 2, 1), 9, dtype=np.uint8), np.array([0, 1])))
    assert facts == {"copies": 0}  # one generated example, and members that are all the same
    assert quality(real[:0], real) == {}


def test_large_sets_are_thinned_and_give_the_same_facts_again():
    real, fake = draws(9000, 0), draws(9000, 1)
    facts = quality(real, fake)
    assert facts == quality(real, fake)
    assert facts["nearest_member"] == pytest.approx(1, abs=0.1)
