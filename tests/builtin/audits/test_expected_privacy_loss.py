from types import SimpleNamespace

import numpy as np
import pytest

from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve

POOL, WIDTH = 200, 6


def table(n, seed):
    """Rows of which a tenth lie far out, each in a direction of its own."""
    rng = np.random.default_rng((seed, 3))
    x = rng.normal(size=(n, WIDTH)).astype(np.float32)
    x[rng.permutation(n)[: n // 10]] *= 5
    return Examples(x, np.arange(n) % 2)


def population(synthetic, models=4):
    """What an audit asks of a population, without training."""
    pool = table(POOL, 0)
    rows = []
    for pair in range(models // 2):
        member = np.zeros(POOL, dtype=bool)
        member[np.random.default_rng((pair, 1)).permutation(POOL)[: POOL // 2]] = True
        rows += [member, ~member]
    return SimpleNamespace(
        models=models,
        dataset=SimpleNamespace(role=lambda role: pool),
        members=lambda index: rows[index],
        synthetic=lambda index: synthetic(pool[rows[index]], index),
        defense=SimpleNamespace(name="planted"),
    )


@pytest.fixture
def ctx():
    return Context(reference=table(100, 5))


def fresh(members, index):
    return table(150, 10 + index)


def remembered(members, index):
    """The outliers among the members, five times each and almost as they are, among fresh rows of the bulk."""
    rng = np.random.default_rng((index, 2))
    outliers = members.x[np.linalg.norm(members.x, axis=1) > 6].repeat(5, axis=0)
    bulk = rng.normal(size=(150, WIDTH))
    x = np.concatenate([outliers + 0.01 * rng.normal(size=outliers.shape), bulk]).astype(np.float32)
    return Examples(x, np.zeros(len(x), dtype=np.int64))


def test_fresh_draws_lose_members_and_held_out_examples_alike(ctx):
    found = resolve("audit", "expected-privacy-loss", {"k": 5}).measure(population(fresh), ctx)
    values = found.values
    assert values["mu_difference"].low <= 0 <= values["mu_difference"].high
    assert values["mu_members"].value > 0  # and yet nothing leaks
    assert values["closer_auc"].value == pytest.approx(0.5, abs=0.1)
    assert values["mu_sample_members"].value is None
    assert "takes more examples than 100" in values["mu_sample_members"].note
    assert found.arrays["losses_members"].shape == found.arrays["losses_heldout"].shape == (4, 100)
    assert any("no (epsilon, delta)" in note for note in found.notes)


def test_remembered_outliers_set_members_apart(ctx):
    found = resolve("audit", "expected-privacy-loss", {"k": 5, "features": "pca"}).measure(population(remembered), ctx)
    assert found.values["mu_difference"].low > 0
    assert found.values["closer_auc"].value > 0.5
    sweep = {row["K"]: row for row in found.tables["Sweep of K"]}
    assert set(sweep) == {1, 5, 20}  # 100 is more than half of the synthetic rows
    assert sweep[5]["difference"] > sweep[1]["difference"]


def test_k_is_chosen_for_each_release(ctx):
    found = resolve("audit", "expected-privacy-loss").measure(population(fresh), ctx)
    chosen = [row["K"] for row in found.tables["By release"]]
    assert found.values["k"].value == np.mean(chosen)
    assert all(1 <= k <= 75 for k in chosen)
    bounds = found.tables["Bounds"]
    assert [row["gamma"] for row in bounds] == [0.05, 0.01, 1e-5]
    assert bounds[0]["mu, members"] < bounds[1]["mu, members"] < bounds[2]["mu, members"]
    assert bounds[0]["one more, members"] is not None
    assert bounds[2]["one more, members"] is None


def test_copies_of_members_show_in_distances(ctx):
    found = resolve("audit", "expected-privacy-loss").measure(population(lambda members, index: members), ctx)
    assert found.values["closer_auc"].value == 1
    assert found.values["kappa"] is None
    assert found.values["k"].value == 1


def test_what_publishes_nothing_or_one_point_fails_in_one_line(ctx):
    audit = resolve("audit", "expected-privacy-loss")
    with pytest.raises(CellFailed, match="planted publishes no synthetic examples"):
        audit.measure(population(lambda members, index: None), ctx)
    with pytest.raises(CellFailed, match="release 0: 1 distinct synthetic points"):
        audit.measure(population(lambda members, index: members[np.zeros(30, dtype=int)]), ctx)
