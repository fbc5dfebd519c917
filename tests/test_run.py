import dataclasses
import errno
import json
import sys

import numpy as np
import pytest

from privbench.api import Needs, Release
from privbench.errors import BadOption, CannotWrite, CellFailed, Diverged, UsageError
from privbench.learn.inference import classifier
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.population import releases
from privbench.run import Grid, Plan, plan, run


@component
class Diverging:
    """Never ends with a number."""

    name = "diverging"
    paper = "none"

    def fit(self, task, examples, ctx):
        raise Diverged("loss is nan in epoch 1")


@component
class Crashing:
    """Has a bug."""

    name = "crashing"
    paper = "none"

    def fit(self, task, examples, ctx):
        return 1 / 0


@component
class Choosy:
    """Makes a model of its own of the task's, and not of every one."""

    name = "choosy"
    paper = "none"
    how: str = "refuse"

    def empty(self, task):
        if self.how == "crash":
            return 1 / 0
        if self.how == "refuse":
            raise BadOption("the model's layer '0' has no gradients per example; train mlp.")
        return classifier(task)

    def fit(self, task, examples, ctx):
        return resolve("defense", "ce").fit(task, examples, ctx)


def _grid(task, defenses, attacks, **options):
    """A grid of fewer targets than models, and of no seed that anything takes by default."""
    made = [resolve("defense", d) if isinstance(d, str) else d for d in defenses]
    return Grid(
        [task], made, [resolve("attack", a) for a in attacks], **{"models": 4, "targets": 3, "seed": 5, **options}
    )


def test_every_defense_meets_every_attack_on_the_same_models(task, store, inline, tmp_path):
    grid = _grid(task, ["ce", "relaxloss"], ["confidence", "lira"])
    records = list(run(grid, store, inline, out=tmp_path / "out"))
    assert [(r.defense.name, r.attack.name, r.status) for r in records] == [
        ("ce", "confidence", "ok"),
        ("ce", "lira", "ok"),
        ("relaxloss", "confidence", "ok"),
        ("relaxloss", "lira", "ok"),
    ]
    assert len(inline.ran) == 8
    assert len(list((tmp_path / "out").rglob("*.json"))) == 4
    assert len(list((tmp_path / "out").rglob("*.scores.npz"))) == 4


def test_a_second_run_trains_nothing_and_gives_the_same(task, store, inline):
    grid = _grid(task, ["ce"], ["lira"])
    first = [record.digest for record in run(grid, store, inline)]
    inline.ran.clear()
    assert [record.digest for record in run(grid, store, inline)] == first
    assert inline.ran == []


def test_attacks_that_run_together_have_bands_for_the_strongest_which_raw_scores_give_again(
    task, store, inline, tmp_path
):
    from privbench.records.record import load
    from privbench.records.selection import numbers, select

    grid = _grid(task, ["ce"], ["confidence", "lira"])
    made = list(run(grid, store, inline, out=tmp_path / "out"))
    assert {name for record in made for name in record.selection.attacks} == {"confidence", "lira"}
    assert all({"auc", "balanced-accuracy"} <= set(record.selection.bands) for record in made)
    assert load([tmp_path / "out"]) == made
    raws = {}
    for record in made:
        with np.load(record.path(tmp_path / "out").with_suffix(".scores.npz")) as raw:
            raws[record.attack.spec] = dict(raw)
    again = select({attack: numbers(raw, grid.seed) for attack, raw in raws.items()})
    assert again == {record.attack.spec: record.selection for record in made}


def test_of_one_attack_nothing_is_chosen_and_its_digest_is_that_of_any_company(task, store, inline):
    (alone,) = run(_grid(task, ["ce"], ["lira"]), store, inline)
    _, beside = run(_grid(task, ["ce"], ["confidence", "lira"]), store, inline)
    assert alone.selection is None
    assert beside.selection is not None
    assert alone.digest == beside.digest == beside.compute_digest()


def test_another_attack_queries_the_same_models_and_trains_none(store, inline, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, x=rng.integers(0, 256, (120, 8, 8), dtype=np.uint8), y=np.arange(120) % 2)
    images = resolve("task", "npz", {"path": str(path), "epochs": 1, "model": "mlp"})
    list(run(_grid(images, ["ce"], ["lira:queries=1"]), store, inline))
    planned = plan(_grid(images, ["ce"], ["lira:queries=2"]), store)
    assert [job.queries for job in planned.jobs()] == [(2,)] * 4


def test_the_undefended_attacker_brings_a_population_of_its_own(task, store, inline):
    grid = _grid(task, ["relaxloss"], ["lira", "lira:shadows=undefended"])
    planned = plan(grid, store)
    assert sorted(p.defense.name for p in planned.populations) == ["ce", "relaxloss"]
    adaptive, undefended = run(grid, store, inline)
    assert "undefended shadows" in undefended.threat_model
    assert adaptive.scores_sha256 != undefended.scores_sha256


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(Diverging(), "loss is nan"), (Crashing(), "ZeroDivisionError: division by zero (tests/")],
)
def test_one_bad_defense_spoils_only_its_own_cells(task, store, inline, bad, reason):
    failed, good = run(_grid(task, [bad, "ce"], ["confidence"]), store, inline)
    assert (failed.status, good.status) == ("failed", "ok")
    assert reason in failed.reason
    assert "model 0" in failed.reason


def test_records_are_valid_json_by_the_published_schema(task, store, inline, tmp_path):
    import jsonschema

    from privbench.records.record import Record, load

    out = tmp_path / "out"
    records = list(run(_grid(task, ["ce", Diverging()], ["lira"]), store, inline, out=out))
    schema = Record.model_json_schema(mode="serialization")
    for file in out.rglob("*.json"):
        jsonschema.validate(json.loads(file.read_text()), schema)
        assert file.stat().st_size < 50_000
    assert sorted(r.digest for r in load([out])) == sorted(r.digest for r in records)


@component
class Refusing:
    """An attack whose threat model cannot be had."""

    name = "refusing"
    paper = "none"
    how: str = "raise"

    @property
    def needs(self):
        return sys.exit("bye") if self.how == "raise" else None

    def score(self, evidence):
        raise AssertionError("it is never asked")


@pytest.mark.parametrize(
    ("how", "reason"), [("raise", "SystemExit: bye (tests/test_run.py:"), ("none", "'refusing': `needs` is None")]
)
def test_an_attack_without_a_threat_model_fails_alone_and_before_training(task, store, inline, how, reason):
    grid = _grid(task, ["ce"], ["correctness"])
    grid = dataclasses.replace(grid, attacks=[Refusing(how=how), *grid.attacks])
    failed, good = run(grid, store, inline)
    assert (failed.status, good.status) == ("failed", "ok")
    assert failed.reason.startswith(reason)


def test_what_must_fail_or_does_not_apply_is_planned_and_trains_nothing(task, store, inline):
    grid = _grid(task, ["ce", "relaxloss"], ["lira", "gan-leaks", "inversion"], models=2, targets=1)
    planned = plan(grid, store)
    assert planned.jobs() == []
    few = "it needs shadow models, and 2 models leave none: use 4 or more (--models)."
    assert [(cell.impossible, cell.inapplicable) for cell in planned.cells] == [
        (few, ""),
        ("", "ce publishes no synthetic examples"),
        ("", "npz holds tables: there is no image to reconstruct"),
        (few, ""),
        ("", "relaxloss publishes no synthetic examples"),
        ("", "npz holds tables: there is no image to reconstruct"),
    ]
    records = list(run(grid, store, inline))
    assert [record.status for record in records] == ["failed", "n/a", "n/a"] * 2
    assert records[0].reason == few
    assert inline.ran == []


def test_where_no_cell_can_be_run_it_is_an_error(task, store):
    with pytest.raises(UsageError, match="lira: it needs shadow models, and 2 models leave none"):
        plan(_grid(task, ["ce"], ["lira", "confidence"], models=2, targets=None), store)


def test_a_population_that_one_attack_can_use_is_trained(task, store):
    grid = _grid(task, ["ce"], ["lira", "correctness"], models=2, targets=1)
    assert len(plan(grid, store).jobs()) == 2


@component
class Publishing:
    """Its training may publish examples, for all that is known beforehand."""

    name = "publishing"
    paper = "none"
    really: bool = True

    def fit(self, task, examples, ctx):
        from privbench.learn.training import train

        return Release(train(task, examples, ctx), synthetic=examples if self.really else None)


def test_whether_unknown_training_publishes_examples_is_seen_when_it_is_done(task, store, inline):
    grid = _grid(task, [Publishing(), Publishing(really=False)], ["gan-leaks"])
    assert [record.status for record in run(grid, store, inline)] == ["ok", "n/a"]
    assert len(inline.ran) == 8
    assert [bool(cell.inapplicable) for cell in plan(grid, store).cells] == [False, True]  # now that it is known


def test_a_store_that_is_full_ends_the_run(task, store, inline, monkeypatch):
    def full(job, report):
        raise CannotWrite("Cannot write to the store: No space left on device.")

    monkeypatch.setattr(releases, "make", full)
    with pytest.raises(CannotWrite):
        list(run(_grid(task, ["ce", "relaxloss"], ["correctness"]), store, inline))
    assert len(inline.ran) == 1


@pytest.mark.parametrize(
    ("how", "reason"), [("refuse", "the model's layer '0' has no"), ("crash", "ZeroDivisionError: ")]
)
def test_a_model_that_a_defense_cannot_make_is_foreseen_and_spoils_only_its_cells(task, store, inline, how, reason):
    unfit = Choosy(how=how)
    with pytest.raises(UsageError, match=f"^choosy: {reason}"):
        plan(_grid(task, [unfit], ["lira", "confidence"]), store)
    grid = _grid(task, [unfit, Choosy(how="make"), "ce"], ["lira"])
    planned = plan(grid, store)
    assert [cell.impossible.startswith(reason) for cell in planned.cells] == [True, False, False]
    assert {job.population.defense.name for job in planned.jobs()} == {"choosy", "ce"}
    records = list(run(grid, store, inline))
    assert [record.status for record in records] == ["failed", "ok", "ok"]
    assert records[0].reason.startswith(reason)
    assert len(inline.ran) == 8


def test_what_is_in_the_store_needs_no_model_while_planning(task, store, inline, monkeypatch):
    grid = _grid(task, [Choosy(how="make")], ["lira"])
    assert [record.status for record in run(grid, store, inline)] == ["ok"]
    monkeypatch.setattr(Choosy, "empty", lambda *_: pytest.fail("a model was made"))
    assert not plan(grid, store).jobs()


def test_a_full_disk_ends_the_run_with_a_word(task, store, inline, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    monkeypatch.setattr("privbench.records.files.atomic_write", full)
    with pytest.raises(CannotWrite, match=f"^Cannot write records into {out}: No space left on device.$"):
        list(run(_grid(task, ["ce"], ["correctness"]), store, inline, out=out))


@pytest.mark.parametrize("method", ["load", "network"])
def test_a_task_that_exits_is_one_line_before_training(task, store, monkeypatch, method):
    def leave(*_):
        sys.exit("bye")

    monkeypatch.setattr(type(task), method, leave)
    with pytest.raises(CellFailed, match=r"^SystemExit: bye"):
        plan(_grid(task, ["ce"], ["lira"]), store)


@pytest.mark.parametrize("defense", ["ce", Choosy(how="make")])
def test_a_plan_draws_from_no_global_generator(task, store, defense):
    import random

    import torch

    def states():
        numpy_state = np.random.get_state()[1]  # noqa: NPY002 - the global one
        return random.getstate(), numpy_state.tolist(), torch.random.get_rng_state().tolist()

    before = states()
    plan(_grid(task, [defense], ["lira"]), store)
    assert states() == before


@pytest.mark.parametrize("models", [0, 1, 3, -2])
def test_models_come_in_pairs(task, models):
    with pytest.raises(UsageError, match="even number"):
        Grid([task], [], [], models=models)


def test_models_of_one_training_set_are_for_audits_alone(task, store):
    with pytest.raises(UsageError, match="attacks take halves"):
        _grid(task, ["ce"], ["correctness"], fixed=True)
    with pytest.raises(UsageError, match="2 or more, the trainings"):
        Grid([task], [], [], models=1, fixed=True)
    (each,) = Plan(_grid(task, ["ce"], [], fixed=True, models=3)).given(store, 0.0)
    assert (each.fixed, each.models) == (1.0, 3)


@pytest.mark.parametrize("targets", [0, 5])
def test_targets_are_some_of_the_models(task, targets):
    with pytest.raises(UsageError, match="between 1 and"):
        Grid([task], [], [], models=4, targets=targets)


def test_what_cannot_be_run_fails_before_anything_is_trained(table_file, task, store):
    with pytest.raises(UsageError, match="table"):
        plan(_grid(task, ["ce"], ["lira:queries=18"]), store)
    cnn = resolve("task", "npz", {"path": str(table_file), "model": "cnn"})
    with pytest.raises(BadOption, match="images"):
        plan(_grid(cnn, ["ce"], ["lira"]), store)


def test_the_listener_hears_everything(task, store, inline):
    heard = []

    class Listener:
        def planned(self, plan):
            heard.append(("planned", len(plan.jobs())))

        def progress(self, job, done, stage):
            heard.append(("progress", job))

        def made(self, outcome):
            heard.append(("made", outcome.index))

        def scoring(self, cell, done):
            heard.append(("scoring", cell.attack.name, done))

        def scored(self, cell, record):
            heard.append(("scored", record.attack.name))

    list(run(_grid(task, ["ce"], ["confidence"]), store, inline, listener=Listener()))
    assert heard[0] == ("planned", 4)
    assert [event for event in heard if event[0] == "made"] == [("made", i) for i in range(4)]
    shares = [event[2] for event in heard if event[0] == "scoring"]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert heard[-1] == ("scored", "confidence")
    assert any(event[0] == "progress" for event in heard)


def test_task_queries_are_two_where_the_recipe_flips(table_file, tmp_path, store):
    path = tmp_path / "images.npz"
    np.savez(path, x=np.zeros((60, 8, 8), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None], y=np.arange(60) % 2)
    for data, flip, queries in ((path, 0.5, 2), (path, 0.0, 1), (table_file, 0.0, 1)):
        task = resolve("task", "npz", {"path": str(data), "model": "mlp", "flip": flip})
        (cell,) = plan(_grid(task, ["ce"], ["lira"]), store).cells
        assert cell.queries == queries
    assert Needs(queries="task").queries == "task"


SALT = "0123456789abcdef0123456789abcdef"


def test_all_cells_of_a_run_share_a_salt_that_is_in_their_records(task, store, inline, tmp_path):
    grid = _grid(task, ["ce", "relaxloss"], ["confidence", "lira:shadows=undefended"], salt=SALT)
    records = list(run(grid, store, inline, out=tmp_path / "out"))
    assert {record.salt for record in records} == {SALT}
    halves = {tuple(bytes(each.members(i)) for i in range(each.models)) for each in plan(grid, store).populations}
    assert len(halves) == 1
    public = list(run(_grid(task, ["ce"], ["confidence"]), store, inline, out=tmp_path / "out"))
    assert public[0].salt == ""
    assert public[0].scores_sha256 != records[0].scores_sha256
    assert len(list((tmp_path / "out").rglob("*.json"))) == 5, "records of another salt are other records"


def test_the_same_salt_gives_the_same_and_more_models_train_the_rest(task, store, inline):
    first = [record.digest for record in run(_grid(task, ["ce"], ["lira"], salt=SALT), store, inline)]
    inline.ran.clear()
    assert [record.digest for record in run(_grid(task, ["ce"], ["lira"], salt=SALT), store, inline)] == first
    assert inline.ran == []
    larger = _grid(task, ["ce"], ["lira"], models=6, targets=None, salt=SALT)
    assert [job.index for job in plan(larger, store).jobs()] == [4, 5]


@pytest.mark.parametrize("salt", ["random", "public", "ABCDEF0123456789abcdef0123456789", "1234"])
def test_a_grid_takes_the_digits_of_a_salt_alone(task, salt):
    with pytest.raises(UsageError, match="salt"):
        _grid(task, ["ce"], ["lira"], salt=salt)
