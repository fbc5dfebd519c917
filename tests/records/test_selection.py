"""The interval of the strongest of k attacks. Simulations have fixed seeds; tolerances are four standard errors."""

from statistics import NormalDist

import numpy as np
import pytest

from privbench.records.selection import critical_value, numbers, select
from privbench.stats import intervals, metrics, roc

NAMES = {"tpr@1%": 0.01, "auc": 0.5, "balanced-accuracy": 0.5}
"""What ranks, with the value that an attack has that knows nothing."""


def halves(targets, n, rng):
    """(targets, n) memberships: pairs of complementary halves."""
    firsts = [rng.permutation(n) < n // 2 for _ in range((targets + 1) // 2)]
    return np.concatenate([np.stack([first, ~first]) for first in firsts])[:targets]


def raw(scores, member, **more):
    return {"scores": scores, "member": member, "decisions": scores > 0, **more}


def null(k, targets, n, seed, *, shared=0.0):
    """Raw arrays of k attacks that know nothing; `shared` is the correlation between any two of them."""
    rng = np.random.default_rng(seed)
    member = halves(targets, n, rng)
    common = rng.normal(size=member.shape)
    return {
        f"attack{index}": raw(np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=member.shape), member)
        for index in range(k)
    }


def estimate(found, name):
    """The number of that name in the metrics of a record."""
    return {"auc": found.auc, "balanced-accuracy": found.balanced_accuracy}.get(name) or found.tpr_at_fpr[0].tpr


def strength(arrays, name):
    """The same number, quickly."""
    if name == "auc":
        return intervals.auc(arrays["scores"], arrays["member"]).value
    if name == "balanced-accuracy":
        return (arrays["decisions"] == arrays["member"]).mean()
    ranking = roc.Ranking.of(arrays["scores"], arrays["member"])
    return roc.cut(ranking, roc.allowed(0.01, len(ranking.outside))).hits


@pytest.mark.parametrize(("targets", "shared"), [(1, 0.0), (4, 0.0), (4, 0.5)])
def test_the_band_of_the_strongest_of_null_attacks_holds_where_its_own_interval_does_not(targets, shared):
    """120 worlds with 6 attacks that know nothing; at 95 % coverage the standard error is 2 %."""
    worlds, covered = 120, {name: np.zeros(2) for name in NAMES}
    for seed in range(worlds):
        raws = null(6, targets, 300, seed, shared=shared)
        found = {attack: numbers(arrays, 0, 100) for attack, arrays in raws.items()}
        selections = select(found, 100)
        for name, truth in NAMES.items():
            best = max(raws, key=lambda attack: strength(raws[attack], name))
            ends = found[best][name].bounds(1.96), selections[best].bands[name]
            covered[name] += [low <= truth <= high for low, high in ends]
    for name, (own, band) in covered.items():
        assert band / worlds >= 0.93, name
        assert own / worlds < band / worlds - 0.04, name


@pytest.mark.parametrize("targets", [1, 4])
@pytest.mark.parametrize("leak", [0.0, 0.5, 3.0])
def test_of_one_attack_the_band_is_its_own_interval(targets, leak):
    (arrays,) = null(1, targets, 1500, 0).values()
    arrays = raw(arrays["scores"] + leak * arrays["member"], arrays["member"])
    band = select({"one": numbers(arrays, 0)})["one"]
    plain = metrics.evaluate(*(arrays[name] for name in ("scores", "member", "decisions")), seed=0)
    for name in NAMES:
        own = estimate(plain, name)
        width = own.high - own.low
        assert band.critical[name] == pytest.approx(1.96, abs=0.2)
        assert band.bands[name] == pytest.approx((own.low, own.high), abs=0.15 * width)
        if targets > 1:  # of one target the interval of a TPR is of other bootstrap samples
            assert band.bands[name][0] <= own.low <= own.high <= band.bands[name][1]
    assert band.attacks == ["one"]


def test_more_attacks_widen_the_band_and_equal_ones_do_not():
    raws = null(8, 4, 400, 1)
    found = {attack: numbers(arrays, 0) for attack, arrays in raws.items()}
    first, second = list(found)[:2]
    one, two, all_of_them = (
        select({attack: found[attack] for attack in chosen})[first] for chosen in ([first], [first, second], found)
    )
    twice = select({first: found[first], "again": found[first]})[first]
    sidak = NormalDist().inv_cdf((1 + 0.95 ** (1 / 8)) / 2)
    for name in NAMES:
        assert one.critical[name] < two.critical[name] < all_of_them.critical[name]
        assert sidak - 0.1 < all_of_them.critical[name] < sidak + 0.5
        assert twice.bands[name] == one.bands[name]
        (low, high), (wider_low, wider_high) = one.bands[name], all_of_them.bands[name]
        assert wider_low <= low <= high <= wider_high


def test_the_same_seed_gives_the_same_bands_and_another_others():
    raws = null(3, 2, 300, 2)
    first, again, other = (
        select({attack: numbers(arrays, seed) for attack, arrays in raws.items()}) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_bands_of_attacks_that_find_all_or_nothing_stay_within_bounds_and_are_no_points():
    member = halves(4, 200, np.random.default_rng(3))
    perfect, blind = raw(member * 2.0 - 1, member), raw(np.zeros(member.shape), member)
    found = select({name: numbers(arrays, 0) for name, arrays in {"perfect": perfect, "blind": blind}.items()})
    for name in NAMES:
        low, high = found["perfect"].bands[name]
        assert 0.9 < low < high == 1
    low, high = found["blind"].bands["tpr@1%"]
    assert 0 == low < high < 0.05
    low, high = found["blind"].bands["auc"]
    assert low < 0.5 < high


def test_where_no_sample_changes_anything_attacks_count_as_independent():
    none = np.empty(0)
    assert critical_value([none]) == pytest.approx(1.96, abs=0.001)
    assert critical_value([none, none, none]) == pytest.approx(2.388, abs=0.001)


def test_a_number_that_an_attack_does_not_have_has_no_band():
    raws = null(2, 2, 300, 4)
    (first, second) = raws
    del raws[first]["decisions"]
    found = select({attack: numbers(arrays, 0) for attack, arrays in raws.items()})
    assert "balanced-accuracy" not in found[first].bands
    assert found[second].critical["balanced-accuracy"] == pytest.approx(1.96, abs=0.2)
    few = null(1, 1, 60, 5)["attack0"]
    assert set(numbers(few, 0)) == {"auc", "balanced-accuracy"}  # 30 non-members allow no false positive at 1 %
    one_sided = raw(few["scores"], np.ones_like(few["member"]))
    assert numbers(one_sided, 0) == {}


def test_canaries_are_measured_by_themselves():
    member = halves(4, 600, np.random.default_rng(6))
    canary = np.arange(600) < 200
    scores = np.random.default_rng(7).normal(size=member.shape) + 5 * (member & canary)
    arrays = raw(scores, member, canary=canary, ordinary=~canary)
    found = select({"lira": numbers(arrays, 0)})["lira"].bands
    assert found["canary-tpr@1%"][0] > 0.9
    assert found["tpr@1%"][1] < 0.05
