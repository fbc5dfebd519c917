import numpy as np
import pytest

from privbench.builtin.audits import losses


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=np.float32))
    assert losses.cross_entropy(logits, np.array([1, 2])) == pytest.approx([np.log(4), -np.log(0.8)], rel=1e-6)


def test_distances_by_hand():
    a, b = np.array([0.0, 1.0]), np.array([0.0, 3.0])
    assert losses.wasserstein(a, b) == pytest.approx(1.0)
    assert losses.kolmogorov_smirnov(a, b) == pytest.approx(0.5)


def test_distances_are_averaged_over_models():
    one, other = np.arange(4.0), np.arange(4.0) + 2
    found = losses.distances({"member": [one, one], "nonmember": [other, one], "test": [other, other]})
    assert found["w1_member_nonmember"].value == pytest.approx(1.0)
    assert found["w1_member_nonmember"].n == 2
    assert found["w1_member_test"].value == pytest.approx(2.0)
    assert found["ks_nonmember_test"].value == pytest.approx(0.25)
    assert set(found) == {
        f"{d}_{p}" for d in ("ks", "w1") for p in ("member_nonmember", "member_test", "nonmember_test")
    }


def test_histograms_hold_every_loss_in_common_bins():
    parts = {"member": [np.array([0.0, 1e-12]), np.array([0.5])], "test": [np.array([30.0, 0.5])]}
    found = losses.histograms(parts)
    assert found["loss_member"].sum() == 3
    assert found["loss_test"].sum() == 2
    assert found["loss_member"][0] == 2
    assert found["loss_test"][-1] == 1
    assert len(found["loss_edges"]) == len(found["loss_test"]) + 1
    ratios = found["loss_edges"][1:] / found["loss_edges"][:-1]
    assert ratios == pytest.approx(ratios[0])


def test_histograms_of_losses_that_are_all_nothing():
    found = losses.histograms({"member": [np.zeros(3)], "test": [np.zeros(2)]})
    assert found["loss_member"].sum() == 3
