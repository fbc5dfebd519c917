"""Audits are made, measured and written down; one that fails says so and spoils nothing else."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import ClassVar

import numpy as np
import pytest

from privbench.api import Measurement, component
from privbench.errors import BadOption, CellFailed, InvalidRecord, UsageError
from privbench.grid import audits as audit
from privbench.plugins.loading import resolve
from privbench.records import audit_record
from privbench.records.record import load
from privbench.run import Grid
from privbench.stats.intervals import mean
from privbench.store.hashing import json_sha256


@component
class Accuracy:
    """Test accuracy, and a number of the context's own."""

    name: ClassVar[str] = "accuracy"
    student: str = "task"

    def compared(self, population):
        return [dataclasses.replace(population, defense=resolve("defense", "relaxloss"))]

    def measure(self, population, ctx):
        y = population.dataset.role("test").y
        right = np.array([(population.answers(i, 1, "test").logits[:, 0].argmax(1) == y).mean() for i in range(4)])
        kept = ctx.kept("drawn", ctx.reference, {}, lambda inner: {"x": inner.rng("a").normal(size=2)})
        ctx.progress(0.5, "half way")
        rows = [{"model": i, "accuracy": each} for i, each in enumerate(right)]
        values = {"accuracy": mean(right), "drawn": kept["x"][0], "none": None, "text": "as is", "count": 4}
        return Measurement(values, {"By model": rows}, {"right": right}, ["Read it with care."])


@component
class Broken:
    """An audit that cannot."""

    name: ClassVar[str] = "broken"
    how: str = "raise"

    def measure(self, population, ctx):
        if self.how == "nan":
            return Measurement({"value": float("nan")})
        raise CellFailed("It publishes nothing.") if self.how == "raise" else ZeroDivisionError("by zero")


@component
class Refusing:
    """An audit that knows beforehand that it cannot, or thinks so of a defense."""

    name: ClassVar[str] = "refusing"
    defense: str = "ce"

    def compared(self, population):
        if population.defense.name == self.defense:
            raise CellFailed(f"{self.defense} is not for it.")
        return ()

    def measure(self, population, ctx):
        return Measurement({"models": population.models})


@pytest.fixture
def grid(task):
    return Grid([task], [resolve("defense", "ce")], [], models=4, targets=3, seed=7)


def test_an_audit_is_measured_on_what_it_needs_and_written_down(grid, store, inline, tmp_path):
    seen = []
    out = tmp_path / "results"
    (record,) = audit.conduct(grid, [Accuracy()], store, inline, out=out, progress=lambda *done: seen.append(done))
    assert record.status == "ok"
    assert len(inline.ran) == 8  # four of ce, four of relaxloss
    assert (0.5, "half way") in seen
    assert record.values["accuracy"].n == 4
    assert record.values["none"] is None
    assert (record.values["text"], record.values["count"]) == ("as is", 4)
    assert [row["model"] for row in record.tables["By model"]] == [0, 1, 2, 3]
    assert audit_record.load([out]) == [record]
    with np.load(record.path(out).with_suffix(".arrays.npz")) as arrays:
        assert arrays["right"].shape == (4,)
    assert load([out]) == []  # no records of attacks


def test_the_same_audit_has_the_same_digest(grid, store, inline):
    first, second = (next(audit.conduct(grid, [Accuracy()], store, inline)) for _ in range(2))
    assert first.digest == second.digest == first.compute_digest()
    assert len(inline.ran) == 8
    other = next(audit.conduct(dataclasses.replace(grid, seed=1), [Accuracy()], store, inline))
    assert other.digest != first.digest


def test_a_salt_is_in_the_record_and_makes_another_one_while_the_public_one_changes_no_digest(
    grid, store, inline, tmp_path
):
    salt = "0123456789abcdef0123456789abcdef"
    public = next(audit.conduct(grid, [Accuracy()], store, inline))
    salted = next(audit.conduct(dataclasses.replace(grid, salt=salt), [Accuracy()], store, inline))
    assert (public.salt, salted.salt) == ("", salt)
    assert public.path(tmp_path) != salted.path(tmp_path)
    assert public.digest != salted.digest
    before = json.loads(public.model_dump_json(exclude={*audit_record.AuditRecord.NOT_REPRODUCED, "salt"}))
    assert public.digest == json_sha256(before)


@pytest.mark.parametrize(
    ("how", "reason"), [("raise", "It publishes nothing."), ("bug", "ZeroDivisionError: by zero"), ("nan", "is nan")]
)
def test_an_audit_that_fails_spoils_only_itself(grid, store, inline, how, reason):
    failed, fine = audit.conduct(grid, [Broken(how=how), Accuracy()], store, inline)
    assert (failed.status, fine.status) == ("failed", "ok")
    assert reason in failed.reason
    assert failed.values == {}


def test_releases_that_could_not_be_made_fail_the_audits_that_rest_on_them(task, store, inline):
    grid = Grid([task], [resolve("defense", "fake-data")], [], models=2)  # which generates images, not tables
    (record,) = audit.conduct(grid, [Accuracy()], store, inline)
    assert record.status == "failed"
    assert "generates images" in record.reason


def test_a_student_is_an_option_of_audits_that_train_one():
    assert audit.with_student(Accuracy(), "logistic") == Accuracy(student="logistic")
    with pytest.raises(UsageError, match="trains no student"):
        audit.with_student(Broken(), "mlp")


def test_what_is_no_record_of_an_audit_is_said(tmp_path):
    (tmp_path / "audit-x.json").write_text("{}")
    with pytest.raises(InvalidRecord, match="schema_version is None"):
        audit_record.load([tmp_path])
    with pytest.raises(UsageError, match="No records at"):
        audit_record.load([tmp_path / "nowhere"])


def test_what_must_fail_is_known_before_training_and_fails_alone(grid, store, inline):
    both = dataclasses.replace(grid, defenses=[resolve("defense", name) for name in ("ce", "relaxloss")])
    failed, good = audit.conduct(both, [Refusing()], store, inline)
    assert (failed.status, failed.reason) == ("failed", "ce is not for it.")
    assert good.status == "ok"
    assert [job.population.defense.name for job in inline.ran] == ["relaxloss"] * 4


def test_where_no_audit_can_be_run_it_is_an_error(grid, store, inline):
    with pytest.raises(UsageError, match="ce is not for it"):
        list(audit.conduct(grid, [Refusing()], store, inline))
    assert inline.ran == []


@component
class Leaving:
    """An audit that ends the process."""

    name: ClassVar[str] = "leaving"

    def measure(self, population, ctx):
        sys.exit("bye")


def test_a_model_that_a_defense_cannot_make_is_foreseen(task, store):
    @component
    class Choosy:
        """Makes no model."""

        name: ClassVar[str] = "choosy"

        def empty(self, task):
            raise BadOption("train mlp.")

        def fit(self, task, examples, ctx):
            raise NotImplementedError

    with pytest.raises(UsageError, match=r"^choosy: train mlp\.$"):
        audit.plan(Grid([task], [Choosy()], [], models=4), [Accuracy()], store)


def test_an_audit_that_exits_fails_alone(grid, store, inline):
    left, good = audit.conduct(grid, [Leaving(), Accuracy()], store, inline)
    assert left.status == "failed"
    assert left.reason.startswith("SystemExit: bye (tests/grid/test_audits.py:")
    assert good.status == "ok"


def test_what_rests_on_a_population_that_failed_is_not_made(grid, store, inline, monkeypatch):
    from privbench.population import releases

    @component
    class Resting:
        """An audit of a population that depends on the given one."""

        name: ClassVar[str] = "resting"

        def compared(self, population):
            return [dataclasses.replace(population, inputs="transformed")]

        def measure(self, population, ctx):
            raise NotImplementedError

    def failing(job, report):
        raise CellFailed("no luck")

    monkeypatch.setattr(releases, "make", failing)
    (record,) = audit.conduct(grid, [Resting()], store, inline)
    assert record.reason == "ce model 0: no luck"
    assert {job.population.inputs for job in inline.ran} == {"original"}


@pytest.mark.parametrize(
    ("command", "models", "reason"),
    [
        ("privacy-levels:attack=confidence --defense ce", 2, "2 models leave none"),
        ("privacy-levels:attack=lira:mode=offline --defense ce", 4, "makes no decisions"),
        ("privacy-levels:votes=1 --defense ce", 8, "votes=1"),
        ("privacy-levels:distance=abs,attack=lira:mode=offline --defense ce", 8, "distance=abs"),
        ("overlap --defense ce", 2, "at least 4 models"),
        ("epsilon --defense ce", 2, "2 models leave none"),
        ("epsilon:attack=gan-leaks --defense ce", 4, "ce has none"),
        ("epsilon:attack=inversion --defense ce", 4, "no membership attack"),
        ("generation-quality --defense relaxloss", 4, "publishes no synthetic examples"),
        ("expected-privacy-loss --defense selena", 4, "publishes no synthetic examples"),
        ("utility-matrix --defense relaxloss", 4, "publishes no generated examples"),
        ("validation-transfer --defense ce", 4, "publishes no generated examples"),
        ("validation-transfer:release=9 --defense fake-data", 4, "release=9: there are 4 models"),
    ],
)
def test_an_audit_that_cannot_apply_says_so_before_training(grid, store, command, models, reason):
    name, _, defense = command.split()
    grid = dataclasses.replace(grid, models=models, targets=None, defenses=[resolve("defense", defense)])
    with pytest.raises(UsageError, match=reason):
        audit.plan(grid, [resolve("audit", name)], store)


def test_models_of_one_training_set_are_for_audits_that_say_so(grid, task, store):
    with pytest.raises(UsageError, match="members=fixed"):
        audit.plan(dataclasses.replace(grid, fixed=True), [Accuracy()], store)
    overlap = resolve("audit", "overlap:members=fixed")
    _, (bench,) = audit.plan(grid, [overlap], store)
    assert [each.fixed for each in (bench.population, *bench.compared)] == [1.0, 1.0]
