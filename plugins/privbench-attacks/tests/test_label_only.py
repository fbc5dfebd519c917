from types import SimpleNamespace

import numpy as np
import pytest
from privbench_attacks.label_only import LabelOnly
from privbench_attacks.label_only import boundary as search
from privbench_attacks.label_only.disturbed import rotated, shifted, variants

from privbench.api import Evidence, Needs
from privbench.errors import CellFailed
from privbench.testing import parametrize_with_checks


@parametrize_with_checks(
    [
        "attack:label-only",
        "attack:label-only:grid=18",
        "attack:label-only:method=noise,draws=3",
        "attack:label-only:method=boundary,budget=100",
    ]
)
def test_contract(check):
    check()


class Linear:
    """A target with two classes, 1 where x . w + b > 0, which counts what it is asked."""

    def __init__(self, shape, n=200, low=0.3, high=0.7, seed=1):
        rng = np.random.default_rng(seed)
        self.x = rng.uniform(low, high, (n, *shape)).astype(np.float32)
        flat = self.x.reshape(n, -1)
        self.w = rng.normal(size=flat.shape[1])
        self.b = -flat.mean(axis=0) @ self.w
        self.asked = 0

    def logits(self, x):
        self.asked += len(x)
        z = x.reshape(len(x), -1).astype(float) @ self.w + self.b
        return np.stack([np.zeros(len(x)), z], axis=1).astype(np.float32)

    def evidence(self, needs, labels=None):
        labels = self.logits(self.x).argmax(axis=1) if labels is None else labels
        answers = SimpleNamespace(logits=self.logits(self.x)[:, None])
        self.asked = 0
        return Evidence(needs, labels, answers, classes=2, x=self.x, query=lambda _, x: self.logits(x))

    def score(self, attack, labels=None):
        return attack.score(self.evidence(attack.needs, labels))

    @property
    def margin(self):
        return np.abs(self.x.reshape(len(self.x), -1) @ self.w + self.b)


# The boundary ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "budget", "median", "worst"), [((4, 4, 1), 500, 0.03, 0.15), ((8,), 500, 0.02, 0.1)])
def test_distance_to_a_plane(shape, budget, median, worst):
    target = Linear(shape)
    unit = np.ones(target.w.shape) if len(shape) == 3 else target.x.std(axis=0)
    truth = target.margin / np.linalg.norm(target.w * unit)
    excess = target.score(LabelOnly(method="boundary", budget=budget)) / truth - 1
    assert excess.min() > -1e-3  # what is returned was seen to have another label
    assert np.median(excess) < median
    assert np.quantile(excess, 0.95) < worst


def test_more_queries_come_nearer():
    target = Linear((6, 6, 1))
    far, near = (target.score(LabelOnly(method="boundary", budget=budget)) for budget in (150, 800))
    assert np.median(far / near) > 1.1
    truth = target.margin / np.linalg.norm(target.w)
    assert np.corrcoef(near, truth)[0, 1] > 0.99


def test_a_wrong_label_is_at_distance_0_and_costs_nothing():
    target = Linear((4, 4, 1), n=20)
    right = target.logits(target.x).argmax(axis=1)
    assert not target.score(LabelOnly(method="boundary"), labels=1 - right).any()
    assert target.asked == 0
    assert (target.score(LabelOnly(method="boundary"), labels=right) > 0).all()


@pytest.mark.parametrize("budget", [100, 137, 500, 2500])
@pytest.mark.parametrize("shape", [(2,), (8, 8, 1), (12, 12, 3)])
def test_queries_stay_within_the_budget(shape, budget):
    target = Linear(shape, n=12)
    target.score(LabelOnly(method="boundary", budget=budget))
    assert 0.5 * budget < target.asked / 12 <= budget


def test_images_stay_images():
    target = Linear((4, 4, 1), low=0.0, high=1.0)
    seen = []
    evidence = target.evidence(LabelOnly(method="boundary").needs)
    ask = evidence.query
    spy = SimpleNamespace(
        x=evidence.x,
        labels=evidence.labels,
        predictions=evidence.predictions,
        rng=evidence.rng,
        query=lambda x: seen.append((x.dtype, x.min(), x.max())) or ask(x),
    )
    LabelOnly(method="boundary", budget=200).score(spy)
    assert {dtype for dtype, _, _ in seen} == {np.dtype(np.float32)}
    assert min(low for _, low, _ in seen) >= 0
    assert max(high for _, _, high in seen) <= 1


def test_where_nothing_has_another_label_all_are_equally_far():
    target = Linear((4, 4, 1), n=20)
    target.b = 100.0
    scores = target.score(LabelOnly(method="boundary"))
    assert (scores == scores[0]).all()
    assert scores[0] >= np.linalg.norm(target.x - target.x[0], axis=(1, 2)).max()


def test_blocks_change_nothing(monkeypatch):
    target, attack = Linear((4, 4, 1)), LabelOnly(method="boundary", budget=120)
    whole = target.score(attack)
    monkeypatch.setattr(search, "BLOCK", 7 * 16 * 20)
    assert np.allclose(target.score(attack), whole, rtol=1e-4)


# Variants ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "rotate", "count"), [(0, 0, 0), (1, 0, 4), (2, 0, 8), (3, 0, 12), (0, 1, 2), (1, 4, 12)]
)
def test_number_of_variants(shift, rotate, count):
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    made = list(variants(x, shift, rotate))
    assert len(made) == count  # with the image itself 4 d + 1 and 2 r + 1: a rotation by 1 degree is one too
    assert len({each.tobytes() for each in made}) == count
    assert all(each.shape == x.shape and not np.array_equal(each, x) for each in made)


def test_shifts_reflect_at_the_edges():
    x = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    assert shifted(x, 1, 0)[0, :, 0, 0].tolist() == [4, 0, 4]
    assert shifted(x, 0, -2)[0, 0, :, 0].tolist() == [2, 3, 2, 1]
    assert shifted(x, 0, 0).dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 3])
def test_a_quarter_turn(channels):
    x = np.random.default_rng(0).random((4, 6, 6, channels), dtype=np.float32)
    turned = rotated(x, 90)
    ways = [np.rot90(x, k, axes=(1, 2)) for k in (1, 3)]
    assert any(np.allclose(turned, way, atol=1e-5) for way in ways)
    assert np.allclose(rotated(turned, -90), x, atol=1e-5)
    assert np.allclose(rotated(x, 0), x, atol=1e-6)


def test_turning_knows_that_an_image_is_no_square():
    x = np.zeros((1, 9, 15, 1), dtype=np.float32)
    x[0, 4, 10] = 1  # three pixels right of the centre
    turned = rotated(x, 90)[0, :, :, 0]
    assert np.unravel_index(turned.argmax(), turned.shape) in [(1, 7), (7, 7)]


def test_share_of_variants_that_are_right():
    target = Linear((5, 5, 1))
    evidence = target.evidence(LabelOnly().needs)
    right = [target.logits(target.x).argmax(axis=1) == evidence.labels]
    for x in variants(target.x, 1, 2):
        right.append(target.logits(x).argmax(axis=1) == evidence.labels)  # noqa: PERF401 - a slow and plain version
    assert np.array_equal(LabelOnly(rotate=2).score(evidence), np.mean(right, axis=0))


def test_tables_have_no_augmentations():
    with pytest.raises(CellFailed, match="method=noise"):
        Linear((8,)).score(LabelOnly())
    with pytest.raises(CellFailed, match="shift=5"):
        Linear((5, 5, 1)).score(LabelOnly(shift=5))


def test_the_grid_is_asked_for_by_needs():
    assert LabelOnly(grid=162).needs == Needs(answers="labels", queries=162)
    assert LabelOnly(method="noise", grid=162).needs == Needs(answers="labels", query=True, examples=True)


# Noise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8,), (4, 4, 1)])
def test_noise_on_a_linear_target(shape):
    from scipy.stats import norm

    target, sd = Linear(shape, low=0.45, high=0.55), 0.3 if len(shape) == 1 else 0.05
    unit = target.x.std(axis=0) if len(shape) == 1 else 1.0
    expected = norm.cdf(target.margin / (sd * np.linalg.norm(target.w * unit)))
    found = target.score(LabelOnly(method="noise", levels=(sd,), draws=400))
    assert np.abs(found - expected).max() < 5 * 0.5 / 400**0.5
    assert abs((found - expected).mean()) < 0.01


def test_bits_are_flipped():
    target = Linear((6,), n=100)
    target.x = (target.x > 0.5).astype(np.float32)
    seen = []
    evidence = target.evidence(LabelOnly(method="noise").needs)
    spy = SimpleNamespace(
        x=evidence.x,
        labels=evidence.labels,
        rng=evidence.rng,
        query=lambda x: seen.append(x) or evidence.query(x),
    )
    LabelOnly(method="noise", levels=(0.25,), draws=50).score(spy)
    assert np.isin(seen, (0, 1)).all()
    assert np.mean(np.stack(seen) != target.x) == pytest.approx(0.25, abs=0.01)
