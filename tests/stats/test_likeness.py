import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.data.dataset import Examples
from privbench.stats import likeness
from privbench.stats.likeness import Likeness, Reconstruction

RNG = np.random.default_rng(0)


def pool(n=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(rng.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8), np.arange(n) % classes)


def halves(n=60):
    first = np.arange(n) % 2 == 0
    return np.stack([first, ~first])


def compared(images, examples=None, members=None):
    examples = examples or pool()
    members = halves(len(examples)) if members is None else members
    images = np.asarray(images, dtype=np.float32)
    flat = likeness.unit(examples.x).reshape(len(examples), -1)
    return likeness.compare(images, images.reshape(*images.shape[:2], -1), examples, flat, members)


def summarised(values):
    ones = np.ones_like(values["psnr_mean"])
    return likeness.summarise({**values, "accuracy": ones, "confidence": ones, "detected": ones})


# PSNR and SSIM


def test_psnr_of_a_copy_is_infinite_and_of_an_error_of_a_hundredth_20_db():
    image = RNG.random((2, 8, 8, 3))
    assert np.isposinf(likeness.psnr(image, image)).all()
    assert likeness.psnr(image, image + 0.1) == pytest.approx([20.0, 20.0])


def test_psnr_falls_by_6_db_where_the_error_doubles():
    image = RNG.random((1, 8, 8, 1))
    one, two = likeness.psnr(image, image + 0.05), likeness.psnr(image, image + 0.1)
    assert one - two == pytest.approx(20 * math.log10(2))


@pytest.mark.parametrize("shape", [(3, 8, 8, 1), (2, 4, 5, 3), (2, 32, 20, 3), (1, 1, 1, 1)])
def test_ssim_is_one_of_a_copy_symmetric_and_less_of_all_else(shape):
    one, other = RNG.random((2, *shape))
    assert likeness.ssim(one, one) == pytest.approx(np.ones(len(one)))
    assert likeness.ssim(one, other) == pytest.approx(likeness.ssim(other, one))
    assert (likeness.ssim(one, other) < 1).all()


def test_ssim_is_that_of_scikit_image():
    """skimage.metrics.structural_similarity(ramp, other, data_range=1.0), version 0.25."""
    ramp = np.linspace(0, 1, 64).reshape(1, 8, 8, 1)
    assert likeness.ssim(ramp, ramp[:, ::-1] ** 2) == pytest.approx([-0.8069094937679075])


def test_ssim_of_constants_by_hand():
    """Without variance what remains is the term of the means: (2ab + c1) / (a^2 + b^2 + c1)."""
    a, b = np.full((1, 8, 8, 1), 0.2), np.full((1, 8, 8, 1), 0.6)
    assert likeness.ssim(a, b) == pytest.approx([(2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)])


# What is compared with what


def test_a_copied_member_is_found_and_is_a_copy():
    examples, members = pool(), halves()
    chosen = np.array([[np.flatnonzero(members[t] & (examples.y == c))[3] for c in range(3)] for t in range(2)])
    found = compared(likeness.unit(examples.x[chosen]), examples, members)
    assert (found.member == chosen).all()
    assert np.isposinf(found.values["psnr_member"]).all()
    assert (found.values["ssim_member"] > 0.999).all()
    assert (found.values["feature_distance"] == 0).all()
    summary = summarised(found.values)
    assert summary.distance_ratio.high < 0.01
    assert summary.psnr_member.value == pytest.approx(likeness.PSNR_CAP)
    assert summary.psnr_member.note == "6 of 6 are copies; a copy counts as 58.9 dB"
    assert summary.psnr_nonmember.value < 15
    assert summary.psnr_nonmember.note == ""


def test_members_of_one_target_are_non_members_of_its_partner():
    images = np.broadcast_to(RNG.random((3, 8, 8, 1)), (2, 3, 8, 8, 1))
    values = compared(images).values
    assert values["psnr_member"][0] == pytest.approx(values["psnr_nonmember"][1])
    assert summarised(values).distance_ratio.value == pytest.approx(1.0)


def test_the_mean_is_that_of_the_members_of_the_class():
    examples, members = pool(), halves()
    means = [[likeness.unit(examples.x[m & (examples.y == c)]).mean(axis=0) for c in range(3)] for m in members]
    found = compared(means, examples, members)
    assert (found.values["psnr_mean"] > 100).all()
    assert (found.values["ssim_mean"] > 0.9999).all()
    assert (found.values["psnr_member"] < 20).all()


def test_nearest_is_by_brute_force():
    examples, members, images = pool(), halves(), RNG.random((2, 3, 8, 8, 1)).astype(np.float32)
    found = compared(images, examples, members)
    x = likeness.unit(examples.x)
    for target, label in np.ndindex(2, 3):
        far = np.sqrt(np.square(x - images[target, label]).sum(axis=(1, 2, 3), dtype=np.float64))
        of = examples.y == label
        inside, outside = far[of & members[target]], far[of & ~members[target]]
        ratio = math.log(inside.min() / outside.min())  # near 0, of distances in float32
        assert found.values["distance_ratio"][target, label] == pytest.approx(ratio, abs=1e-6)
        assert found.values["feature_distance"][target, label] == pytest.approx(inside.min(), rel=1e-6)
        assert far[found.member[target, label]] == inside.min()
        assert members[target, found.example[target, label]]
        assert examples.y[found.example[target, label]] == label


def test_what_one_class_lacks_is_missing_and_spoils_no_other():
    examples = pool()
    members = halves()
    members[:, examples.y == 1] = True  # no non-members
    members[:, examples.y == 2] = False  # no members
    found = compared(RNG.random((2, 3, 8, 8, 1)), examples, members)
    assert np.isnan(found.values["psnr_nonmember"]).any(axis=0).tolist() == [False, True, False]
    assert np.isnan(found.values["psnr_member"]).any(axis=0).tolist() == [False, False, True]
    assert np.isnan(found.values["distance_ratio"]).any(axis=0).tolist() == [False, True, True]
    assert (found.member[:, 2] == -1).all()
    summary = summarised(found.values)
    assert summary.psnr_member.n == 4
    assert (summary.distance_ratio.n, summary.distance_ratio.note) == (2, "one class only: no interval")
    assert summary.distance_ratio.low is None


def test_without_anything_to_compare_with_there_is_no_number():
    found = compared(RNG.random((2, 3, 8, 8, 1)), members=np.zeros((2, 60), bool))
    summary = summarised(found.values)
    assert summary.distance_ratio.value is None
    assert "no class" in summary.psnr_member.note
    assert summary.psnr_nonmember.value is not None


# Numbers of many images


@given(st.integers(0, 2**32 - 1))
def test_images_that_know_no_half_have_a_ratio_of_one(seed):
    """Of a pair of targets the halves are each other's complement, so that what helps one hurts the other."""
    rng = np.random.default_rng(seed)
    member = rng.permutation(np.arange(60) % 2 == 0)
    images = np.broadcast_to(rng.random((3, 8, 8, 1)), (2, 3, 8, 8, 1))
    found = summarised(compared(images, pool(), np.stack([member, ~member])).values).distance_ratio
    assert found.value == pytest.approx(1.0)


def test_means_weigh_classes_alike_and_intervals_are_over_classes():
    values = np.array([[0.1, 0.4], [0.3, np.nan]])
    found = likeness.average(values)
    assert found.value == pytest.approx(0.3)
    assert found.n == 3
    half = 12.7062 * math.sqrt(0.02) / math.sqrt(2)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-5)
    assert likeness.average(values, low=0.0).low == 0
    bent = likeness.average(values, 0.0, 1.0)
    assert 0 < bent.low < 0.02
    assert 0.9 < bent.high < 1
    assert likeness.average(values[:, :1], 0.0, 1.0).note == "one class only: no interval"


def test_shares_are_clustered_by_class():
    ones = np.ones((8, 3))
    right = np.array([[1.0, 1.0, 0.0]]).repeat(8, axis=0)
    values = dict.fromkeys(Likeness.model_fields, ones) | {"accuracy": right}
    share = likeness.summarise(values).accuracy
    assert share.value == pytest.approx(2 / 3)
    assert share.n == 24
    assert share.low < 0.2  # three classes, not 24 images


def test_every_number_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    assert [name for name in (*Likeness.model_fields, *Reconstruction.model_fields) if f"`{name}`" not in text] == []
