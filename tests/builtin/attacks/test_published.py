"""What holds for every attack on a published synthetic set."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privbench.api import Needs
from privbench.builtin.attacks.gan_leaks import GanLeaks
from privbench.builtin.attacks.nearest_neighbour import NearestNeighbour
from privbench.builtin.attacks.real_vs_fake import RealVsFake
from privbench.errors import CellFailed, UndeclaredEvidence
from privbench.testing.base import auc_se

SPACES = [
    *(cls(features=space) for cls in (GanLeaks, NearestNeighbour, RealVsFake) for space in ("pixels", "pca")),
    GanLeaks(by_class=True),
    GanLeaks(features="encoder"),
    RealVsFake(mode="slide-literal"),
    GanLeaks(scale="none"),
]
each = pytest.mark.parametrize("attack", SPACES, ids=repr)


@each
def test_copies_of_members_are_found(attack, helpers):
    target, member = helpers.published(0, copies=True)
    assert helpers.auc(target.score(attack), member) > 0.99


@each
def test_in_fresh_examples_nothing_is_found(attack, helpers):
    found, seeds = [], 8
    for seed in range(seeds):
        target, member = helpers.published(seed, copies=False)
        found.append(helpers.auc(target.score(attack), member))
    assert abs(np.mean(found) - 0.5) < 3 * auc_se(member) / seeds**0.5


@each
def test_scores_are_the_same_whether_inputs_are_bytes_or_floats(attack, helpers):
    target, _ = helpers.published(1, copies=True)
    floats = helpers.Published(
        target.x / np.float32(255), target.synthetic.x, reference=target.reference.x / np.float32(255), seed=1
    )
    assert floats.x.dtype == np.float32
    np.testing.assert_array_equal(floats.score(attack), target.score(attack))


@each
def test_tables_are_attacked_too(attack, helpers):
    rng = np.random.default_rng(2)
    x, reference = rng.normal(size=(2, 120, 16)).astype(np.float32)
    member = np.arange(120) < 60
    copies = x[:60] + rng.normal(0, 0.01, (60, 16)).astype(np.float32)
    assert helpers.auc(helpers.Published(x, copies, reference=reference).score(attack), member) > 0.99


@pytest.mark.parametrize("cls", [GanLeaks, NearestNeighbour, RealVsFake])
def test_columns_are_scaled_so_that_a_serial_number_does_not_hide_copies(cls, helpers):
    rng = np.random.default_rng(2)
    body = rng.normal(size=(240, 20))
    made, member = body[:120], np.arange(240) < 120

    def numbered(rows):
        return np.column_stack([rng.permutation(len(rows)) * 1000.0, rows]).astype(np.float32)

    target = helpers.Published(numbered(body), numbered(made), reference=numbered(rng.normal(size=(120, 20))))
    assert helpers.auc(target.score(cls()), member) > 0.9
    assert helpers.auc(target.score(cls(scale="none")), member) < 0.65


@pytest.mark.parametrize("cls", [GanLeaks, NearestNeighbour, RealVsFake])
@given(st.lists(st.floats(-6, 6), min_size=4, max_size=4), st.lists(st.floats(-100, 100), min_size=4, max_size=4))
@settings(deadline=None, max_examples=15)
def test_units_of_columns_do_not_matter(helpers, cls, powers, offsets):
    rng = np.random.default_rng(3)
    x, made, reference = rng.normal(size=(3, 60, 4))
    scale = 10 ** np.array(powers)

    def scored(units, zero):
        parts = [(each * units + zero).astype(np.float32) for each in (x, made, reference)]
        return helpers.Published(parts[0], parts[1], reference=parts[2]).score(cls())

    np.testing.assert_allclose(scored(scale, scale * offsets), scored(1, 0), rtol=2e-3, atol=2e-3)


def test_images_are_compared_as_they_are(helpers):
    target, _ = helpers.published(6, copies=True)
    for cls in (GanLeaks, NearestNeighbour, RealVsFake):
        np.testing.assert_array_equal(target.score(cls()), target.score(cls(scale="none")))


@each
def test_without_synthetic_examples_it_says_why(attack, helpers):
    target, _ = helpers.published(3, copies=True)
    for nothing in (None, target.x[:0]):
        with pytest.raises(CellFailed, match="publishes none"):
            helpers.Published(target.x, nothing, reference=target.reference.x).score(attack)


@each
def test_it_asks_no_model_and_for_no_more_than_it_uses(attack, helpers):
    assert attack.needs.answers == "none"
    uses = attack.features != "pixels" or attack.scale == "columns" or getattr(attack, "mode", "") == "reference"
    assert attack.needs.reference == uses
    target, _ = helpers.published(4, copies=True)
    for needs in (Needs(examples=True), Needs(synthetic=True)):
        with pytest.raises(UndeclaredEvidence):
            attack.score(target.evidence(needs))


def test_memory_does_not_grow_with_the_pairs(helpers):
    rng = np.random.default_rng(5)
    x, synthetic = rng.integers(0, 256, (2, 5000, 4, 4, 1), dtype=np.uint8)
    tracemalloc.start()
    try:
        helpers.Published(x, synthetic).score(NearestNeighbour())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5000 * 5000  # a quarter of the pairs' distances in float32
