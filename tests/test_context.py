from __future__ import annotations

import numpy as np
import torch

from privbench.context import Context


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
    assert seen == [(0.5, "0.gan/2.epochs"), (1.0, "done")]


def test_what_is_kept_is_made_where_nothing_keeps_it():
    made = Context().kept("gan", {"epochs": 2}, lambda: {"w": np.ones(2)})
    np.testing.assert_array_equal(made["w"], [1, 1])
    Context().progress(0.5)


def test_a_store_may_answer_instead():
    asked = []

    def keep(name, key, make):
        asked.append((name, key))
        return {"w": np.zeros(1)}

    kept = Context(keep=keep).kept("gan", {"epochs": 2}, lambda: {"w": np.ones(1)})
    assert asked == [("gan", {"epochs": 2})]
    assert kept["w"] == 0
