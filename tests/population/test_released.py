"""Attackers who reuse what the target published, and who move inputs as its data stage does."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from privbench.api import Examples, Needs, Prepared, Traits, component, option
from privbench.data.dataset import concatenate
from privbench.errors import BadOption
from privbench.plugins.loading import resolve
from privbench.population.composition import chain
from privbench.population.evidence import evidence_of
from privbench.population.population import Population
from privbench.population.released import ReleasedShadows
from privbench.run import Grid, plan, run
from privbench.store.fingerprint import component_key


@component
class Shifted:
    """Publishes copies of its first members, and moves all inputs by a number that it draws."""

    name: ClassVar[str] = "shifted"
    traits: ClassVar[Traits] = Traits(from_members=True)
    published: int = option(20, "examples that it publishes", ge=1)

    def prepare(self, task, members, ctx):
        by = ctx.rng("shift").normal(size=1).astype(np.float32)
        moved = Examples(members.x + by, members.y)
        return Prepared(moved, members[: self.published], {"shift": float(by[0])}, {"by": by})

    def reuse(self, task, members, synthetic, ctx):
        return concatenate(members, synthetic)

    def transform_inputs(self, task, notes, x, device):
        return x + notes["by"]


@component
class OnlyFakes:
    """Trains on what it publishes and nothing else."""

    name: ClassVar[str] = "only-fakes"
    traits: ClassVar[Traits] = Traits(from_members=True)

    def prepare(self, task, members, ctx):
        return Prepared(members, members)


def grid(task, defense, *attacks, targets=None):
    return Grid([task], [defense], [resolve("attack", each) for each in attacks], models=6, targets=targets, seed=2)


@pytest.fixture
def defense():
    return chain([Shifted()])


def test_each_target_gets_shadows_of_its_own_trained_on_what_it_published(task, store, inline, defense):
    (record,) = run(grid(task, defense, "lira:shadows=released", targets=2), store, inline)
    assert (record.status, record.shadows) == ("ok", 4)
    assert "synthetic" in record.threat_model
    shadows = [job for job in inline.ran if isinstance(job.population.defense, ReleasedShadows)]
    assert [(job.population.defense.target, job.index) for job in shadows] == [
        *((0, i) for i in (2, 3, 4, 5)),
        *((1, i) for i in (2, 3, 4, 5)),
    ]
    assert inline.ran[:6] == [job for job in inline.ran if job not in shadows]
    inline.ran.clear()
    (again,) = run(grid(task, defense, "lira:shadows=released", targets=2), store, inline)
    assert (inline.ran, again.digest) == ([], record.digest)


def test_the_shadow_sees_its_own_half_and_the_published_examples_alone(task, store, inline, defense, monkeypatch):
    seen = {}

    def fit(self, task, examples, ctx):
        seen[ctx.seed] = examples
        return original(self, task, examples, ctx)

    original = type(defense.trainer).fit
    monkeypatch.setattr(type(defense.trainer), "fit", fit)
    planned = plan(grid(task, defense, "lira:shadows=released", targets=1), store)
    list(run(grid(task, defense, "lira:shadows=released", targets=1), store, inline))
    (target,), (reusing,) = planned.populations, planned.later
    pool = target.dataset.role("pool")
    examples = list(seen.values())
    trained = {each.x.tobytes() for each in examples}
    for index in (2, 3, 4, 5):
        expected = concatenate(pool[reusing.members(index)], pool[target.members(0)][:20])
        assert expected.x.tobytes() in trained
    assert np.array_equal(target.synthetic(0).x, pool[target.members(0)][:20].x)


def test_another_option_of_the_defense_gives_other_shadows(task, store, defense):
    population = Population(task, task.load(), defense, 6, 0, "cpu", store)
    other = replace(population, defense=chain([Shifted(published=9)]))
    keys = [component_key(ReleasedShadows(each, target)) for each in (population, other) for target in (0, 1)]
    assert len({str(key) for key in keys}) == 4


def test_who_moves_inputs_asks_each_model_in_its_own_way(task, store, inline, defense):
    attacks = ("confidence", "confidence:inputs=transformed", "lira:inputs=transformed")
    original, moved, lira = run(grid(task, defense, *attacks), store, inline)
    assert [each.status for each in (original, moved, lira)] == ["ok"] * 3
    assert original.scores_sha256 != moved.scores_sha256
    assert original.utility == moved.utility  # what users of the model meet is not moved
    planned = plan(grid(task, defense, *attacks), store)
    (population,), (view,) = planned.populations, planned.later
    shift = population.artifact(1).tensors("notes")["by"]
    x = population.dataset.role("pool").x
    expected = evidence_of(population, 1, Needs(query=True), 1, population).query(x + shift)
    np.testing.assert_allclose(view.answers(1, 1, "pool").logits[:, 0], expected, rtol=1e-5, atol=1e-5)
    trained = [job for job in inline.ran if not job.trained]
    assert len(trained) == 6


def test_where_it_does_not_apply_the_cell_says_why_and_nothing_is_trained_for_it(task, store, inline):
    ce, only = resolve("defense", "ce"), chain([OnlyFakes()])
    records = [
        *run(grid(task, ce, "lira:shadows=released", "lira:inputs=transformed"), store, inline),
        *run(grid(task, only, "lira:shadows=released", "confidence"), store, inline),
    ]
    assert [each.status for each in records] == ["n/a", "n/a", "n/a", "ok"]
    assert [each.reason for each in records[:2]] == [
        "ce publishes no synthetic examples",
        "ce does not transform its inputs",
    ]
    assert records[2].reason.startswith("only-fakes trains its models on nothing but what it publishes")
    assert len(inline.ran) == 6, "of ce nothing can be attacked"


def test_undefended_shadows_cannot_move_inputs(task, store, defense):
    with pytest.raises(BadOption, match="undefended shadows do not transform inputs; use adaptive ones"):
        plan(grid(task, defense, "lira:shadows=undefended,inputs=transformed"), store)


def test_a_failed_release_spoils_its_shadows_without_trying_them(task, store, inline, defense, monkeypatch):
    def fit(self, task, examples, ctx):
        raise BadOption("no")

    monkeypatch.setattr(type(defense.trainer), "fit", fit)
    (record,) = run(grid(task, defense, "lira:shadows=released"), store, inline)
    assert record.status == "failed"
    assert len(inline.ran) == 1, "the others of the population are of no use"
