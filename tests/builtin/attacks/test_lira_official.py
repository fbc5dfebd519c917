import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from privbench.builtin.attacks.lira import LiRA
from privbench.errors import BadOption
from privbench.options.fields import build, spec
from privbench.testing import parametrize_with_checks

PRESETS = {"official": False, "official-fixed": True}


@parametrize_with_checks(
    [f"attack:lira:preset={preset},mode={mode}" for preset in PRESETS for mode in ("online", "offline")]
)
def test_contract(check):
    check()


def plain(phi, shadow, member, *, fixed, mode):
    """What the authors' code computes, from its formulas, an example and a query at a time."""
    n, queries = phi.shape
    ins = [shadow[member[:, j], j].astype(float) for j in range(n)]
    outs = [shadow[~member[:, j], j].astype(float) for j in range(n)]
    ins = [x[: min(map(len, ins))] for x in ins]
    outs = [x[: min(map(len, outs))] for x in outs]

    def log_density(x, scores, sd):
        sd += 1e-30
        return -0.5 * ((x - np.median(scores)) / sd) ** 2 - math.log(sd) - 0.5 * math.log(2 * math.pi)

    scores = np.zeros(n)
    for j in range(n):
        for a in range(queries):
            sd_in, sd_out = (math.sqrt(np.mean((x[j][:, a] - x[j][:, a].mean()) ** 2)) for x in (ins, outs))
            if fixed:
                sd_in, sd_out = np.std(ins), np.std(outs if mode == "offline" else ins)
            scores[j] -= log_density(float(phi[j, a]), outs[j][:, a], sd_out) / queries
            if mode == "online":
                scores[j] += log_density(float(phi[j, a]), ins[j][:, a], sd_in) / queries
    return scores


def draws(seed, queries, *, halves):
    """Return phi of a target and of shadows, the shadows' and the target's membership; OUT scores spread wider."""
    rng = np.random.default_rng(seed)
    n, shadows = 120, 12
    member = rng.random((shadows + 1, n)) < 0.5
    if halves:
        member[1:] = rng.permuted(np.tile(np.arange(shadows) % 2 == 0, (n, 1)), axis=1).T
    member[1:3] = [[True], [False]]  # so that nobody has shadows of one kind only
    noise = rng.normal(size=(shadows + 1, n, queries))
    phi = rng.normal(0, 3, (n, queries)) + np.where(member[:, :, None], 2 + noise, 3 * noise)
    return phi[0].astype(np.float32), phi[1:].astype(np.float32), member[1:], member[0]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("halves", [True, False], ids=["halves", "unequal"])
def test_scores_are_those_of_the_authors_code(preset, mode, queries, *, halves, helpers):
    phi, shadow, member, truth = draws(queries, queries, halves=halves)
    got = helpers.Answering.with_phi(phi, shadow, member).score(build(LiRA, {"preset": preset, "mode": mode}))
    expected = plain(phi, shadow, member, fixed=PRESETS[preset], mode=mode)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert roc_auc_score(truth, got) == pytest.approx(roc_auc_score(truth, expected), abs=1e-6)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_equal_answers_are_told_apart_by_1e_30(mode, helpers):
    phi, shadow, member, _ = draws(0, 1, halves=True)
    shadow[:, :10] = shadow[:1, :10]
    got = helpers.Answering.with_phi(phi, shadow, member).score(build(LiRA, {"preset": "official", "mode": mode}))
    np.testing.assert_allclose(got, plain(phi, shadow, member, fixed=False, mode=mode), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_an_example_without_its_shadows_scores_0_and_disturbs_no_other(mode, helpers):
    phi, shadow, member, _ = draws(1, 1, halves=True)
    attack = build(LiRA, {"preset": "official", "mode": mode})
    others = helpers.Answering.with_phi(phi[1:], shadow[:, 1:], member[:, 1:]).score(attack)
    member[:, 0] = True
    scores = helpers.Answering.with_phi(phi, shadow, member).score(attack)
    assert scores[0] == 0
    np.testing.assert_allclose(scores[1:], others, rtol=1e-12)


def test_the_presets_and_their_options():
    assert spec(build(LiRA, {"preset": "official"})) == "lira:variance=example,center=median,formulas=official"
    assert build(LiRA, {"preset": "official", "variance": "global"}) == build(LiRA, {"preset": "official-fixed"})
    assert build(LiRA, {"preset": "official"}).threshold is None
    with pytest.raises(BadOption, match="'variance' is 'example' or 'global' with formulas=official"):
        build(LiRA, {"preset": "official", "variance": "pooled"})
