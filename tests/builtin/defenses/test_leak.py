"""Nothing of the other half is reachable: what a defense releases is the same whatever the non-members are."""

from __future__ import annotations

import numpy as np
import pytest

from privbench.data.dataset import Dataset, Examples
from privbench.plugins.loading import resolve
from privbench.population.population import Population
from privbench.population.releases import make
from privbench.store.store import Store
from privbench.testing import toy_task

QUICK = {
    "ce": "ce",
    "relaxloss": "relaxloss",
    "selena": "selena:models=3,held_out=1",
    "fake-data": "fake-data:gan_steps=3",
    "transform": "transform:gan_steps=3,cycle_steps=3,valuation_models=2",
    "dp-critic": "dp-critic:gan_steps=3",
}
MODEL = 0


class Marked:
    """The toy task, where a marker stands in place of one image of the pool."""

    name, recipe = "marked", toy_task().recipe
    network = staticmethod(toy_task().network)

    def __init__(self, row):
        self.row = row

    def load(self):
        plain = toy_task().load()
        x = plain.examples.x.copy()
        if self.row is not None:
            x[plain.pool[self.row]] = 255 * (np.indices(x.shape[1:]).sum(axis=0) % 2)  # a chessboard
        rows = (plain.pool, plain.reference, plain.validation, plain.test)
        return Dataset(Examples(x, plain.examples.y), plain.classes, *rows, name="marked")


def released(spec, row, folder):
    task = Marked(row)
    population = Population(task, task.load(), resolve("defense", spec), 2, 0, "cpu", Store(folder))
    population.__dict__["_shaped_by"] = {"task": str(row), "defense": spec}
    (job,) = [job for job in population.missing([1]) if job.index == MODEL]
    make(job, lambda done, stage="": None)
    artifact = population.artifact(MODEL)
    parts = {**artifact.tensors("weights"), **population.notes(MODEL)}
    synthetic = population.synthetic(MODEL)
    if synthetic is not None:
        parts |= {"synthetic_x": synthetic.x, "synthetic_y": synthetic.y}
    return {name: array.tobytes() for name, array in parts.items()}, str(artifact.json("release")["facts"])


@pytest.mark.parametrize("spec", QUICK.values(), ids=QUICK)
def test_a_marker_among_the_non_members_changes_nothing_and_among_the_members_something(spec, tmp_path):
    task = Marked(None)
    member = Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", Store(tmp_path)).members(MODEL)
    outside, inside = (int(np.flatnonzero(rows)[0]) for rows in (~member, member))
    plain = released(spec, None, tmp_path / "plain")
    assert released(spec, outside, tmp_path / "outside") == plain
    assert released(spec, inside, tmp_path / "inside")[0] != plain[0]


def test_every_built_in_defense_is_tried():
    from privbench.plugins.loading import catalogue

    builtin = {name for name, entry in catalogue().of("defense").items() if entry.plugin == "privbench"}
    assert builtin == set(QUICK)
