import numpy as np
import pytest

from privbench.builtin.audits import resampling
from privbench.builtin.audits.loss_shifts import Losses, compare, judge, notes
from privbench.stats.intervals import estimate

FITS, FITS_NOT = estimate(0.99, 0.97, 1.0, 300), estimate(0.7, 0.65, 0.75, 300)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 100)


def _losses(shift=0.0, seed=0, pairs=4, n=300):
    """Each example has a loss of its own, each training noise of its own; more data shifts all of them."""
    rng = np.random.default_rng(seed)
    own = rng.exponential(size=n)
    one, other, more = (own * np.exp(0.3 * rng.normal(size=(pairs, n))) for _ in range(3))
    return Losses(one, other, more + shift)


def _compared(shift=0.0, seed=0):
    return compare(_losses(shift, seed), np.random.default_rng(1))


def test_distances_by_hand():
    found = Losses(np.array([[0.0, 1.0]] * 2), np.array([[3.0, 2.0]] * 2), np.array([[5.0, 4.0]] * 2))
    values = {name: each.value for name, each in compare(found, np.random.default_rng(0)).items()}
    assert values == {"w": 3.0, "w_null": 2.0, "excess": 1.0, "change": 3.0}


def test_another_seed_is_no_shift():
    found = [_compared(seed=seed) for seed in range(12)]
    assert sum(each["excess"].low > 0 for each in found) <= 1
    assert sum(each["change"].low <= 0 <= each["change"].high for each in found) >= 10


def test_a_shift_is_found():
    found = _compared(0.5)
    assert found["excess"].low > 0
    assert found["change"].value == pytest.approx(0.5, abs=0.05)
    assert found["w"].low >= 0
    assert found["w_null"].low >= 0


def test_intervals_are_no_narrower_than_those_over_pairs():
    found = _losses(pairs=2)
    change = found.more.mean(axis=1) - (found.one + found.other).mean(axis=1) / 2
    half = 12.706 * change.std(ddof=1) / np.sqrt(2)  # t of one degree of freedom
    estimated = compare(found, np.random.default_rng(0))["change"]
    assert estimated.high - estimated.value >= half * 0.999


def test_verdicts():
    fell = _compared(-0.5)["change"]
    still, up, down = _compared(), _compared(0.5), _compared(-0.5)
    assert judge(FITS_NOT, up, still["change"]) == "breakdown"
    assert judge(FITS, up, still["change"]) == "none"
    assert judge(FITS_NOT, down, still["change"]) == "none"  # more steps fitted it better
    assert judge(FITS, still, fell) == "outlier effect"
    assert judge(FITS, up, fell) == "none"
    assert judge(FITS, still, still["change"]) == "none"


def test_notes_say_what_the_verdict_does_not():
    up = _compared(0.5)["excess"]
    assert len(notes("breakdown", FITS_NOT, FITS, up)) == 1
    assert "moved further" in notes("none", FITS, FITS, up)[1]
    assert "do not fit it either" in notes("none", FITS_NOT, FITS_NOT, _compared()["excess"])[1]
    assert "is open" in notes("breakdown", estimate(0.94, 0.9, 0.97, 99), FITS, up)[1]
