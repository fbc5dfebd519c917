from types import SimpleNamespace

import numpy as np
import pytest

from privbench.builtin.audits.generation_quality import blurred
from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve

POOL = 160


def draws(n, seed, spread=40):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = 80 + 90 * y[:, None, None, None] + rng.normal(0, spread, (n, 8, 8, 1))
    return Examples(np.clip(x, 0, 255).astype(np.uint8), y)


def population(synthetic, models=2):
    """What an audit asks of a population, without training."""
    pool, member = draws(POOL, 0), np.zeros(POOL, dtype=bool)
    member[np.random.default_rng(1).permutation(POOL)[: POOL // 2]] = True
    return SimpleNamespace(
        models=models,
        dataset=SimpleNamespace(role=lambda role: pool),
        members=lambda index: member if index % 2 == 0 else ~member,
        synthetic=lambda index: synthetic(pool[member if index % 2 == 0 else ~member], index),
        defense=SimpleNamespace(name="planted"),
        task=SimpleNamespace(name="drawn"),
    )


@pytest.fixture
def ctx():
    return Context(reference=draws(100, 5))


def measured(synthetic, ctx, **options):
    found = resolve("audit", "generation-quality", options).measure(population(synthetic), ctx)
    return {name: each.value for name, each in found.values.items()}, found


def test_fresh_draws_are_what_held_out_examples_are(ctx):
    values, found = measured(lambda members, index: draws(80, 10 + index), ctx)
    assert values["fid_enc"] == pytest.approx(values["fid_enc_reference"], rel=0.35)
    assert values["precision"] == pytest.approx(values["precision_reference"], abs=0.15)
    assert values["recall"] == pytest.approx(values["recall_reference"], abs=0.15)
    assert values["diversity"] == pytest.approx(values["diversity_reference"], rel=0.1)
    assert values["copies"] < 0.1
    assert [row["class"] for row in found.tables["By class"]] == [0, 1]
    assert found.tables["By class"][0]["fid_enc"] > values["fid_enc"] * 0.5
    assert values["fid_enc_by_class"] == pytest.approx(values["fid_enc_reference_by_class"], rel=0.35)


def test_copies_of_members_are_nearer_to_them_than_real_examples_are(ctx):
    values, found = measured(lambda members, index: members, ctx)
    assert values["fid_enc"] == pytest.approx(0, abs=1e-6)
    assert all(each.low >= 0 for each in found.values.values())
    for name in ("precision", "recall", "copies"):
        assert found.values[name].high == 1
        assert 0.95 < found.values[name].low < 1  # of 160 examples
    assert values["fid_enc_heldout"] == pytest.approx(values["fid_enc_reference"])
    assert values["fid_enc_reference"] > 0.1 * values["fid_enc_heldout"] > 0
    assert values["precision"] == values["recall"] == values["copies"] == 1
    assert values["copies_reference"] < 0.1


def test_a_collapsed_generator_has_precision_and_no_recall(ctx):
    def collapsed(members, index):
        return Examples(members.x[members.y.argsort()[[0, 1, 78, 79]]].repeat(20, axis=0), np.arange(80) // 40)

    values, found = measured(collapsed, ctx, features="pixels")
    assert values["recall"] < 0.1
    assert values["fid_enc"] > 2 * values["fid_enc_reference"]
    assert values["collapsed_classes"] >= 0
    assert found.notes


def test_a_class_that_is_missing_is_left_out_of_the_table(ctx):
    _, found = measured(lambda members, index: members[members.y == 0], ctx, features="pca")
    assert [row["class"] for row in found.tables["By class"]] == [0]


def test_what_publishes_nothing_or_too_little_fails_in_one_line(ctx):
    with pytest.raises(CellFailed, match="planted publishes no synthetic examples"):
        measured(lambda members, index: None, ctx)
    with pytest.raises(CellFailed, match="release 0: 3 examples"):
        measured(lambda members, index: members[:3], ctx)


def test_copies_are_looked_for_among_all_members(ctx):
    """Ten times as many members as others: thinned to as many, nine of ten copies would not be found."""
    pool, member = draws(660, 0), np.arange(660) < 600
    given = population(lambda members, index: members, models=1)
    given.dataset, given.members = SimpleNamespace(role=lambda role: pool), lambda index: member
    found = resolve("audit", "generation-quality", {}).measure(given, ctx).values
    assert found["copies"].value == 1
    assert found["nearest_member"].value == 0
    assert found["copies_reference"].value < 0.1


def test_copies_in_a_table_are_found_whatever_the_units_of_its_columns():
    rng = np.random.default_rng(0)

    def table(body):
        serial = rng.permutation(len(body)) * 1000.0
        return Examples(np.column_stack([serial, body]).astype(np.float32), np.zeros(len(body), int))

    body = rng.normal(size=(160, 6))
    given = population(lambda members, index: table(body[:80]), models=1)
    pool, member = table(body), np.arange(160) < 80
    given.dataset, given.members = SimpleNamespace(role=lambda role: pool), lambda index: member
    reference = Context(reference=table(rng.normal(size=(80, 6))))
    found = resolve("audit", "generation-quality", {}).measure(given, reference).values
    assert found["nearest_member"].value < 0.85
    assert found["nearest_member_reference"].value > 0.9


def test_a_blur_by_hand():
    x = np.zeros((1, 7, 7, 1), dtype=np.uint8)
    x[0, 3, 3, 0] = 255
    soft = blurred(Examples(x, np.array([0])), 0.5)
    kernel = np.exp(-2.0 * np.arange(-2, 3) ** 2)  # exp(-k^2 / (2 sigma^2)) up to four sigma
    kernel /= kernel.sum()
    assert soft.x[0, 1:6, 1:6, 0].tolist() == np.rint(255 * np.outer(kernel, kernel)).tolist()
    assert soft.x.dtype == np.uint8
    wide = Examples(np.stack([x[0].astype(np.float32), np.ones((7, 7, 1), np.float32)]), np.array([0, 1]))
    assert blurred(wide, 1.0).x[1] == pytest.approx(1.0)  # images are not mixed, and borders are mirrored
    assert blurred(wide, 0.0) is wide


def test_a_blur_of_both_sides_keeps_them_alike(ctx):
    def noisy(members, index):
        rng = np.random.default_rng(index)
        return Examples(np.clip(members.x + rng.normal(0, 30, members.x.shape), 0, 255).astype(np.uint8), members.y)

    sharp, soft = (measured(noisy, ctx, blur=sigma)[0] for sigma in (0.0, 1.0))
    assert soft["fid_enc"] < sharp["fid_enc"]  # the noise is what is blurred away
    assert measured(lambda members, index: members, ctx, blur=1.0)[0]["fid_enc"] == pytest.approx(0, abs=1e-6)


def test_tables_are_not_blurred(ctx):
    table = Examples(np.zeros((20, 3), dtype=np.float32), np.arange(20) % 2)
    with pytest.raises(CellFailed, match="only images can be blurred"):
        measured(lambda members, index: table, ctx, blur=1.0)
