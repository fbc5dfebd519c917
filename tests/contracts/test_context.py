from __future__ import annotations

import math

import numpy as np
import torch

from privbench.contracts.context import Context
from privbench.data.dataset import Examples

EXAMPLES = Examples(np.zeros((2, 1), dtype=np.float32), np.array([0, 1]))


def draws(ctx):
    with ctx.seeded("init"):
        weights = torch.rand(1).item()
    return ctx.rng("x").random(), torch.rand(1, generator=ctx.generator("x")).item(), weights


def test_seeds_follow_from_seed_stage_and_name():
    contexts = [
        Context(seed=0),
        Context(seed=1),
        Context(seed=0).stage("fake-data"),
        Context(seed=0).stage("relaxloss"),
        Context(seed=0).stage("relaxloss", 1),
        Context(seed=0).stage("a").stage("b"),
    ]
    for column in zip(*map(draws, contexts), strict=True):
        assert len(set(column)) == len(contexts)
    assert draws(Context(seed=0).stage("a")) == draws(Context(seed=0).stage("a"))
    assert Context().rng("x").random() != Context().rng("y").random()


def test_a_stage_keeps_what_was_lent():
    seen = []
    ctx = Context(seed=1, device="meta", report=lambda done, stage: seen.append((done, stage)))
    stage = ctx.stage("gan").stage("epochs", 2)
    stage.progress(0.5)
    stage.progress(1.0, "done")
    assert (stage.seed, stage.device) == (1, "meta")
    assert seen == [(0.5, "gan epochs"), (1.0, "done")]


def test_a_stage_moves_the_bar_within_its_share():
    seen = []
    ctx = Context(report=lambda done, stage: seen.append((done, stage)))
    second = ctx.stage("gan", share=(0.5, 1.0)).stage("critic", share=(0.0, 0.5))
    second.progress(0.0)
    second.progress(1.0)
    ctx.progress(1.0)
    assert seen == [(0.5, "gan critic"), (0.75, "gan critic"), (1.0, "")]


def test_what_is_kept_is_made_where_nothing_keeps_it():
    made = Context().kept("gan", EXAMPLES, {"epochs": 2}, lambda ctx: {"w": np.ones(2)})
    np.testing.assert_array_equal(made["w"], [1, 1])
    Context().progress(0.5)


def test_a_store_may_answer_instead():
    asked = []

    def keep(name, key, make, inner):
        asked.append((name, key))
        return {"w": np.zeros(1)}

    kept = Context(keep=keep).kept("gan", EXAMPLES, {"clip": math.inf}, lambda ctx: {"w": np.ones(1)}, model_free=True)
    assert asked == [("gan", {"inputs": EXAMPLES.fingerprint, "options": {"clip": "inf"}, "model_free": True})]
    assert kept["w"] == 0


def test_what_is_kept_is_seeded_by_its_name_and_not_by_the_stage_that_asks():
    def make(ctx):
        return {"drawn": ctx.rng("z").random(2)}

    heard = []
    Context(report=lambda done, stage: heard.append(stage)).stage("a").kept("gan", EXAMPLES, {}, make)
    assert heard == ["gan"]
    stages = [Context(1), Context(1).stage("fake-data"), Context(1).stage("transform", 2)]
    first, *others = [stage.kept("gan", EXAMPLES, {}, make)["drawn"] for stage in stages]
    assert all(np.array_equal(first, other) for other in others)
    assert not np.array_equal(first, Context(1).kept("cycle", EXAMPLES, {}, make)["drawn"])
    assert not np.array_equal(first, Context(2).kept("gan", EXAMPLES, {}, make)["drawn"])
