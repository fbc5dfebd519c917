"""Damaged artifacts: noticed while planning, told in one line, made again in the same run, and never used."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
from dataclasses import replace
from typing import ClassVar

import pytest

from privbench.api import Prepared, Traits, component
from privbench.data.dataset import concatenate
from privbench.grid import audits
from privbench.grid.damage import damage_of, made_again
from privbench.plugins.loading import resolve
from privbench.population.composition import chain
from privbench.population.population import Population
from privbench.run import Grid, plan, run

FILES = {
    "model": [
        *("manifest.json", "release.json", "timing.json"),
        *("notes.safetensors", "weights.safetensors", "synthetic_x.npy", "synthetic_y.npy"),
    ],
    "answers": ["manifest.json", "pool.npy", "reference.npy", "test.npy"],
}


@component
class Publishes:
    """Publishes some members and an epsilon that differs from release to release; keeps an intermediate result."""

    name: ClassVar[str] = "publishes"
    traits: ClassVar[Traits] = Traits(from_members=True)

    def prepare(self, task, members, ctx):
        drawn = ctx.kept("drawn", members, {}, lambda inner: {"x": inner.rng("x").normal(size=3)})
        return Prepared(members, members[:20], {"epsilon": 1 + abs(float(drawn["x"][0]))}, drawn)

    def reuse(self, task, members, synthetic, ctx):
        return concatenate(members, synthetic)


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def replaced_by_a_link(path):
    aside = path.rename(path.parent.parent / "aside")
    path.symlink_to(aside)


def swapped(path):
    """The same file of another artifact of the kind, unlike this one."""
    others = sorted(path.parent.parent.parent.glob(f"*/*/{path.name}"))
    path.write_bytes(next(content for content in map(type(path).read_bytes, others) if content != path.read_bytes()))


DAMAGES = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "extended": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "flipped": flipped,
    "swapped": swapped,
    "removed": lambda path: path.unlink(),
    "a folder": replaced_by_a_folder,
    "a link": replaced_by_a_link,
}
if sys.platform == "win32":
    del DAMAGES["a link"]  # which takes a privilege there


def grid(task, *defenses, attacks=("confidence", "nearest-neighbour"), **options):
    made = [resolve("defense", each) if isinstance(each, str) else each for each in defenses or (chain([Publishes()]),)]
    return Grid([task], made, [resolve("attack", each) for each in attacks], **{"models": 4, "seed": 5, **options})


def folders(store, kind, defense=""):
    """Return the folders of the artifacts of one kind, by index."""
    found = [each for each in store.artifacts(kind) if defense in str(each.manifest["defense"])]
    return {each.manifest["index"]: each.path for each in found}


def told(grid, store):
    planned = plan(grid, store)
    return list(damage_of(planned, planned.jobs()))


@pytest.mark.parametrize("kind", FILES)
def test_every_damage_of_every_file_is_one_job_while_planning(task, store, inline, kind):
    assert [record.status for record in run(grid(task), store, inline)] == ["ok", "ok"]
    (population,) = plan(grid(task), store).populations
    folder = folders(store, kind)[2]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES[kind])
    whole = shutil.copytree(folder, folder.parent.parent.parent / "whole")
    for name in FILES[kind]:
        for damage, apply in DAMAGES.items():
            apply(folder / name)
            (job,) = population.missing([1])
            assert (job.index, job.damaged, job.trained) == (2, (kind,), kind == "answers"), (name, damage)
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
    assert population.missing([1]) == []


def test_after_one_run_records_are_those_of_an_undamaged_one(task, store, inline, tmp_path):
    before = [record.digest for record in run(grid(task), store, inline)]
    whole = shutil.copytree(store.root, tmp_path / "whole")
    turns = [("model", FILES["model"][:4]), ("model", FILES["model"][4:]), ("answers", FILES["answers"])]
    damages = itertools.cycle(DAMAGES.values())
    for kind, names in turns:
        shutil.rmtree(store.root)
        shutil.copytree(whole, store.root)
        found = folders(store, kind)
        for index, name in enumerate(names):
            next(damages)(found[index] / name)
        (line,) = told(grid(task), store)
        assert re.match(rf"{len(names)} damaged artifacts of publishes \(npz:.*\) are made again: model \d \(", line)
        inline.ran.clear()
        assert [record.digest for record in run(grid(task), store, inline)] == before
        assert [job.index for job in inline.ran] == list(range(len(names)))
        assert told(grid(task), store) == []
        assert {fault for _, fault in store.verify()} == {""}


def test_what_is_damaged_while_other_cells_are_scored_fails_its_own_cells_and_heals(task, store, inline):
    whole = grid(task, chain([Publishes()]), "ce", "relaxloss", attacks=["confidence", "lira"])
    before = list(run(whole, store, inline))
    for kind, index, word in (("model", 1, "release"), ("answers", 3, "answers")):

        class Damaging:
            def planned(self, planned):
                self.left = True

            def scoring(self, cell, done, kind=kind, index=index):
                if self.left:
                    self.left = False
                    flipped(folders(store, kind, "relaxloss")[index] / "manifest.json")

            def scored(self, cell, record):
                pass

        inline.ran.clear()
        records = list(run(whole, store, inline, listener=Damaging()))
        assert inline.ran == []
        assert [record.digest for record in records[:4]] == [record.digest for record in before[:4]]
        for record in records[4:]:
            assert record.status == "failed"
            assert re.match(rf"The stored {word} of relaxloss model {index} cannot be used: .* Run the ", record.reason)
        assert [record.digest for record in run(whole, store, inline)] == [record.digest for record in before]


def test_a_damaged_release_that_others_are_trained_on_comes_first(task, store, inline):
    released = grid(task, attacks=["lira:shadows=released"], models=6, targets=1)
    (before,) = run(released, store, inline)
    for artifact in store.artifacts("model"):
        flipped(artifact.path / "timing.json")
    inline.ran.clear()
    (again,) = run(released, store, inline)
    assert again.digest == before.digest
    assert [(job.damaged, job.queries) for job in inline.ran] == [(("model",), ())] * (6 + 4)


def test_damage_of_compared_populations_is_made_good_too(task, store, inline):
    epsilon = [resolve("audit", "epsilon:attack=lira:shadows=undefended")]
    (before,) = audits.conduct(grid(task, "relaxloss", attacks=()), epsilon, store, inline)
    assert before.status == "ok"
    found = folders(store, "model", "'ce'")
    flipped(found[0] / "weights.safetensors")
    flipped(folders(store, "answers", "relaxloss")[3] / "pool.npy")
    inline.ran.clear()
    (again,) = audits.conduct(grid(task, "relaxloss", attacks=()), epsilon, store, inline)
    assert again.digest == before.digest
    assert len(inline.ran) == 2


def test_damaged_releases_that_only_costs_compare_with_are_left_out_and_told(task, store, inline):
    list(run(grid(task, "ce", attacks=["confidence"]), store, inline))
    defended = grid(task, "relaxloss", attacks=["confidence"])
    (before,) = run(defended, store, inline)
    flipped(folders(store, "model", "'ce'")[2] / "timing.json")
    inline.ran.clear()
    (line,) = told(defended, store)
    assert re.fullmatch(r"Costs are compared without 1 damaged artifact of ce \(npz:.*\): model 2 \(release\)\.", line)
    (record,) = run(defended, store, inline)
    assert (record.digest, inline.ran) == (before.digest, [])
    assert record.cost.relative_to_ce > 0


def test_a_line_names_some_models_and_counts_all(task, store):
    ce = Population(task, task.load(), resolve("defense", "ce"), 20, 0, "cpu", store)
    other = replace(ce, defense=resolve("defense", "relaxloss:alpha=1.5"))
    jobs = [replace(job, damaged=("model",)) for job in ce.missing([1])]
    assert made_again(ce.missing([1])) == ""
    (of,) = re.findall(r" of (ce \(npz:.*\)) is", made_again(jobs[:1]))
    assert made_again(jobs[:1]) == f"1 damaged artifact of {of} is made again: model 0 (release)."
    assert made_again(jobs).endswith("model 6 (release), model 7 (release), and 12 more.")
    assert made_again(jobs).startswith("20 damaged artifacts of ce (npz:")
    answers = replace(other.missing([1])[3], damaged=("model", "answers"))
    both = f"model 0 (release) of {of}, model 3 (release, answers) of relaxloss:alpha=1.5 (npz"
    assert made_again([jobs[0], answers]).startswith(f"3 damaged artifacts are made again: {both}")
