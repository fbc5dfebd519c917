from __future__ import annotations

import errno
import json
import re
import shutil
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from privbench.builtin.tasks.downloads import Extent
from privbench.cli import main
from privbench.cli import run as module
from privbench.errors import Diverged
from privbench.executors.local import LocalProcesses
from privbench.options.fields import component, spec
from privbench.plugins import loading as plugins
from privbench.plugins.loading import Registered, catalogue, resolve
from privbench.records import leaderboard
from privbench.records.record import load
from privbench.store.store import Store


@component
class Diverging:
    """Never ends with a number."""

    name = "diverging"

    def fit(self, task, examples, ctx):
        raise Diverged("the loss of epoch 1 is nan")


@pytest.fixture
def here(tmp_path, monkeypatch, inline):
    """A folder to work in, with a store; training is done in this process."""
    inline.workers, inline.gpus = 1, 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRIVBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(module, "executor_of", lambda *_: inline)
    return tmp_path


@pytest.fixture
def tiny(table_file):
    return f"npz:path={table_file},epochs=2,hidden=16"


@pytest.fixture
def diverging(monkeypatch):
    found = catalogue()
    components = {**found.components, ("defense", "diverging"): Registered("defense", "diverging", Diverging, "p", "1")}
    changed = plugins.Catalogue(found.plugins, components)
    monkeypatch.setattr(plugins, "catalogue", lambda: changed)


def run(*arguments):
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def ran(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fails(*arguments):
    """Return the one line on stderr of a command that was typed wrong."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: "), result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    return result.stderr


def config(text, name="study.toml"):
    from pathlib import Path

    Path(name).write_text(text, encoding="utf-8")
    return "--config", name


# A run


def test_a_run_prints_a_row_and_writes_a_record(here, tiny, inline):
    result = ran("--task", tiny, "--attack", "confidence", "--models", 4, "--out", "out")
    assert "npz(blobs):epochs=2,hidden=16" in result.stdout
    assert "4 models, 4 targets, pool of 155, half of it members, seed 0, cpu" in result.stdout
    assert "ranked by TPR at 1 % FPR" in result.stdout
    assert re.search(r"^ ?1 +ce +confidence ", result.stdout, re.MULTILINE)
    (record,) = load([here / "out"])
    assert record.status == "ok"
    assert len(inline.ran) == 4
    assert "Finished 4 models" in result.stderr
    assert "Records and raw scores are in out." in result.stderr


def test_the_command_in_the_record_gives_the_same_record(here, tiny):
    ran("--task", tiny, "-d", "relaxloss:alpha=0.5", "-a", "confidence:thresholds=class", "--models", 4, "--targets", 2)
    (record,) = load([here / "privbench-results"])
    words = record.command.split()
    assert words[:2] == ["privbench", "run"]
    ran(*words[2:], "--store", "other", "--out", "again")
    (again,) = load([here / "again"])
    assert again.digest == record.digest
    assert (again.targets, again.defense.spec) == (2, "relaxloss:alpha=0.5")


def test_the_second_time_nothing_is_trained(here, tiny, inline):
    first = ran("--task", tiny, "--attack", "confidence", "--models", 4)
    inline.ran.clear()
    second = ran("--task", tiny, "--attack", "confidence", "--models", 4)
    assert inline.ran == []
    assert "All 4 models are in the store." in second.stderr
    assert second.stdout == first.stdout


def test_all_attacks_are_shown_one_by_one_and_the_strongest_ranks(here, tiny):
    result = ran("--task", tiny, "--attack", "all", "--models", 6)
    entries = catalogue().of("attack")
    names = list(entries)
    cells, _, ranked = result.stdout.partition("strongest")
    assert all(re.search(rf"\bce +{name} ", cells) for name in names if hasattr(entries[name].cls, "score"))
    records = load([here / "privbench-results"])
    assert sorted(record.attack.name for record in records) == sorted(names)
    (row,) = leaderboard.frame(records).to_dict("records")
    assert re.search(rf"^ ?1 +ce +{row['attack']} ", ranked, re.MULTILINE)
    assert "oracle" in cells
    assert "oracle" not in ranked


def test_one_attack_needs_no_table_of_cells(here, tiny):
    assert "oracle" not in ran("--task", tiny, "--attack", "confidence", "--models", 4).stdout


def test_what_is_named_twice_is_run_once(here, tiny):
    ran("--task", tiny, "-a", "confidence", "-a", "confidence:thresholds=global", "--models", 4)
    assert len(load([here / "privbench-results"])) == 1


def test_a_failing_cell_shows_in_the_exit_code_and_the_others_go_on(here, tiny, diverging):
    result = run("--task", tiny, "-d", "diverging", "-d", "ce", "-a", "confidence", "--models", 4)
    assert result.exit_code == 1
    assert "diverging: confidence failed: diverging model 0: the loss of epoch 1 is nan" in result.stdout
    assert "diverging, model 0: the loss of epoch 1 is nan" in result.stderr
    assert re.search(r"^ ?1 +ce ", result.stdout, re.MULTILINE)
    statuses = {record.defense.name: record.status for record in load([here / "privbench-results"])}
    assert statuses == {"ce": "ok", "diverging": "failed"}


def test_rank_by_reaches_the_table(here, tiny):
    result = ran("--task", tiny, "-a", "confidence", "--models", 4, "--rank-by", "auc")
    assert "ranked by AUC" in result.stdout


def test_a_random_salt_is_drawn_once_and_the_command_of_every_record_has_it(here, tiny):
    cells = ("--task", tiny, "-d", "ce", "-d", "relaxloss", "-a", "confidence", "-a", "lira", "--models", 4)
    result = ran(*cells, "--salt", "random")
    found = load([here / "privbench-results"])
    (salt,) = {record.salt for record in found}
    assert re.fullmatch("[0-9a-f]{32}", salt)
    assert f"The salt is {salt}: pass it as --salt to continue or extend this run" in result.stderr
    assert f"seed 0, salt {salt[:8]}..., cpu" in result.stdout
    assert all(f" --salt {salt} " in record.command for record in found)
    words = found[0].command.split()
    assert "The salt is" not in ran(*words[2:], "--store", "other", "--out", "again").stderr
    digests = {record.digest for record in load([here / "again"])}
    assert digests == {record.digest for record in found}
    other = ran(*cells[:6], *cells[10:], "-a", "confidence", "--salt", "random", "--out", "other-salt")
    assert salt not in other.stderr


def test_the_public_salt_goes_without_saying(here, tiny):
    result = ran("--task", tiny, "-a", "confidence", "--models", 4, *config("salt = 'random'"), "--salt", "public")
    (record,) = load([here / "privbench-results"])
    assert record.salt == ""
    assert "salt" not in record.command + result.stdout + result.stderr


# Without training


def test_a_dry_run_trains_nothing_and_counts(here, tiny, inline):
    ran("--task", tiny, "-a", "confidence", "--models", 4)
    inline.ran.clear()
    grid = ("-d", "ce", "-d", "relaxloss", "-a", "confidence", "-a", "lira", "--models", 6)
    result = ran("--task", tiny, *grid, "--dry-run")
    rows = {words[1]: words[2:5] for words in map(str.split, result.stdout.splitlines()) if words[0].startswith("npz")}
    assert rows == {"ce": ["4", "2", "0"], "relaxloss": ["0", "6", "0"]}
    assert "4 cells; training about" in result.stdout
    assert "with 1 worker. Nothing was trained. Scoring takes additional time." in result.stdout
    assert [type(job).__name__ for job in inline.ran] == ["Population"]  # a few timed steps
    assert len(load([here / "privbench-results"])) == 1  # of the run before


def test_damage_is_told_in_one_line_which_a_dry_run_leaves_as_it_is(here, tiny, inline):
    grid = ("--task", tiny, "-d", "ce", "-a", "confidence", "-a", "m-entropy", "--models", 4)
    ran(*grid)
    store = Store(here / "store")
    paths = {(each.kind, each.manifest["index"]): each.path for each in store.artifacts()}
    (paths["model", 3] / "release.json").write_text("{}")
    (paths["answers", 1] / "pool.npy").unlink()
    (paths["answers", 3] / "manifest.json").write_text("")
    left = sorted(path for path in (here / "store").rglob("*") if ".tmp" not in path.parts)
    names = "model 1 (answers), model 3 (release, answers)"
    line = f"3 damaged artifacts of ce ({spec(resolve('task', tiny))}) are made again: {names}."
    result = ran(*grid, "--dry-run")
    assert line in result.stderr.splitlines()
    assert re.search(r" ce +2 +1 +1 ", result.stdout)
    assert sorted(path for path in (here / "store").rglob("*") if ".tmp" not in path.parts) == left
    inline.ran.clear()
    told = ran(*grid).stderr.splitlines()
    assert [each for each in told if "damaged" in each] == [line]
    assert len(inline.ran) == 2
    assert "damaged" not in ran(*grid).stderr


def test_a_dry_run_names_its_defenses_on_80_columns(here, tiny, monkeypatch):
    """The defense had no room at all, and the task two letters a line, where "8 models in the store" never wrapped."""
    grid = ("-d", "relaxloss", "-a", "confidence", "--models", 4)
    ran("--task", tiny, *grid)
    monkeypatch.setenv("COLUMNS", "80")
    lines = ran("--task", tiny, *grid, "--dry-run").stdout.splitlines()
    assert any("relax" in line for line in lines)
    assert "defense" in lines[0] + lines[1]


def test_a_dry_run_keeps_its_words_whole_at_80_columns(here, inline, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = ran("--task", "digits:epochs=1", "-d", "ce", "--models", 4, "--dry-run")
    assert re.search(r"^task +defense ", result.stdout, re.MULTILINE)
    assert re.search(r"^digits:\S+ +ce +0 +4 +0 ", result.stdout, re.MULTILINE)


def test_a_dry_run_tells_what_comes_to_nothing(here, tiny, inline):
    result = ran(
        "--task",
        tiny,
        *("-d", "ce", "-a", "correctness", "-a", "lira", "-a", "confidence", "-a", "gan-leaks"),
        "--models",
        2,
        "--dry-run",
    )
    assert " / ce: lira, confidence will fail: it needs shadow models, and 2 models leave none" in result.stdout
    assert " / ce: gan-leaks n/a: ce publishes no synthetic examples" in result.stdout


def test_a_dry_run_needs_no_data_whose_size_is_known(here, inline, monkeypatch):
    from privbench.builtin.tasks.cifar import Cifar100

    monkeypatch.setenv("PRIVBENCH_DATA", "nowhere")
    monkeypatch.setattr(Cifar100, "extent", Extent(400, 100, (32, 32, 3), 100))
    result = ran("--task", "cifar100:model=mlp,epochs=1", "-a", "lira", "--models", 4, "--dry-run")
    assert re.search(r"^cifar100:epochs=1,model=mlp +ce +0 +4 +0 ", result.stdout, re.MULTILINE)
    assert "cifar100 is not in nowhere; fetch it with: privbench data fetch cifar100. Until then, " in result.stdout
    assert "cifar100 is not in nowhere" in fails("--task", "cifar100", "-a", "lira", "--models", 4)


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_where_nothing_can_be_attacked_nothing_is_trained(here, tiny, inline, words):
    message = fails("--task", tiny, "-a", "lira", "--models", 2, *words)
    assert message.startswith("Error: lira: it needs shadow models, and 2 models leave none: use 4 or more (--models).")
    assert inline.ran == []


# What was typed wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--defense", "relaxlos"], "No defense named 'relaxlos'. Did you mean 'relaxloss'?"),
        (["--attack", "liira"], "No attack named 'liira'. Did you mean 'lira'?"),
        (["--task", "digit"], "No task named 'digit'. Did you mean 'digits'?"),
        (["--attack", "lira:querys=2"], "'lira' has no option 'querys'. Did you mean 'queries'?"),
        (["--attack", "lira:queries=3"], "option 'queries' = '3'"),
        (["--defense", "relaxloss:alpha=-1"], "option 'alpha' = "),
        (["--defense", "relaxloss+ce"], "must stand last"),
        (["--models", "5"], "--models 5: models come in complementary pairs; give an even number, 2 or more."),
        (["--models", "0"], "give an even number, 2 or more."),
        (["--targets", "17"], "--targets 17: must lie between 1 and the number of models, 16."),
        (["--salt", "rndom"], "--salt rndom: give 32 hexadecimal digits, 'random' to draw some, or 'public'."),
        (["--rank-by", "acu"], "Cannot rank by 'acu'. Did you mean 'auc'?"),
        (["--task", "npz:path=nowhere.npz"], "no file nowhere.npz"),
        (["--task", "npz"], "'npz' needs the option 'path'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_that_says_what_would_be_right(here, arguments, message):
    assert message in fails(*arguments)
    assert not (here / "privbench-results").exists()


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "1.5", "", "²"])
def test_jobs_is_a_number_or_auto(tmp_path, monkeypatch, jobs):
    monkeypatch.chdir(tmp_path)
    assert "give a number of at least 1, or 'auto'." in fails("--jobs", jobs, "--store", "store", "--dry-run")


def test_jobs_is_the_number_of_workers(monkeypatch):
    monkeypatch.setattr("privbench.executors.local.default_workers", lambda device: {"cpu": 3, "cuda": 2}[device])
    assert module.executor_of("7", "cpu").workers == 7
    assert module.executor_of("auto", "cpu").workers == 3
    assert module.executor_of("7", "cpu").lanes == 1


@pytest.mark.parametrize(
    ("jobs", "workers", "laned", "lanes"),
    [("auto", 6, 2, 8), ("1", 1, 1, 1), ("2", 4, 2, 1), ("5", 6, 2, 2), ("6", 6, 2, 3)],
)
def test_on_cards_jobs_is_the_number_of_lanes_in_a_process_for_each(monkeypatch, jobs, workers, laned, lanes):
    monkeypatch.setattr("privbench.executors.local.default_workers", lambda device: 2)
    found = module.executor_of(jobs, "cuda")
    assert (found.workers, found.laned, found.lanes) == (workers, laned, lanes)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"workers": 4}, "training about 100 s with 4 workers"),
        ({"workers": 1, "gpus": 1}, "training about 6.7 min on 1 card"),
        (
            {"workers": 6, "gpus": 2, "lanes": 8},
            "training at most about 3.3 min on 2 cards (what 8 models at once on each save is not measured)",
        ),
    ],
)
def test_the_time_of_a_training_is_divided_by_what_works_on_it(how, told):
    assert module.training_text(400.0, LocalProcesses(**how)) == told


def test_a_device_that_does_not_exist(here):
    result = run("--device", "tpu")
    assert result.exit_code == 2
    assert "'cpu'" in result.stderr


def test_one_of_several_cards_is_chosen_by_a_variable(here):
    assert "No device 'cuda:1'; use cuda, and CUDA_VISIBLE_DEVICES=1 to choose" in fails("--device", "cuda:1")
    (here / "grid.toml").write_text('device = "cuda:1"')
    assert "CUDA_VISIBLE_DEVICES=1" in fails("--config", "grid.toml")


def test_an_out_that_cannot_be_written_is_found_before_training(here, tiny, inline):
    (here / "file").write_text("")
    assert "Cannot write records into file/out: it is not a folder." in fails(
        "--task", tiny, "--models", 4, "--out", "file/out"
    )
    assert inline.ran == []


def test_ctrl_c_says_that_nothing_is_lost(here, tiny, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    executor = types.SimpleNamespace(workers=1, timeout=0.0, pool=interrupted)
    monkeypatch.setattr(module, "executor_of", lambda *_: executor)
    result = run("--task", tiny, "--models", 4)
    assert result.exit_code == 130
    assert "The same command continues where it stopped." in result.stderr


# A file of options


def test_a_file_holds_the_same_options(here, tiny):
    text = f"""
        task = {json.dumps(tiny)}
        defense = ["ce", "relaxloss:alpha=0.5"]
        attack = ["confidence"]
        models = 4
        seed = 3
        rank-by = "auc"
        out = "elsewhere"
    """
    result = ran(*config(text))
    records = load([here / "elsewhere"])
    assert {(r.models, r.seed, r.defense.spec) for r in records} == {(4, 3, "ce"), (4, 3, "relaxloss:alpha=0.5")}
    assert "ranked by AUC" in result.stdout


def test_what_is_typed_wins(here, tiny):
    text = f'task = "{tiny}"\nattack = "lira"\nmodels = 16\nseed = 3\n'
    ran(*config(text), "--attack", "confidence", "--models", 4)
    (record,) = load([here / "privbench-results"])
    assert (record.attack.name, record.models, record.seed) == ("confidence", 4, 3)


def test_a_default_that_is_typed_wins_too(here, tiny):
    ran(*config(f'task = "{tiny}"\nattack = "confidence"\nmodels = 4\nseed = 3\n'), "--seed", 0)
    assert load([here / "privbench-results"])[0].seed == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = 4", "study.toml: no option 'model'. Did you mean 'models'? Options: attack, defense,"),
        ("rank-bye = 'auc'", "study.toml: no option 'rank-bye'. Did you mean 'rank-by'? Options: attack, defense,"),
        ("config = 'other.toml'", "study.toml: no option 'config'."),
        ("dry_run = true", "study.toml: no option 'dry_run'."),
        ("models = ", "study.toml is not valid TOML: "),
        ("models = 'many'", "study.toml: models: 'many' is not a valid integer."),
        ("models = 4.5", "study.toml: models: '4.5' is not a valid integer."),
        ("models = true", "study.toml: models: 'True' is not a valid integer."),
        ("models = [4]", "study.toml: models: '[4]' is not a valid integer."),
        ("models = 5", "give an even number"),
        ("task = 5", "study.toml: task: "),
        ("task = [5]", "study.toml: task: "),
        ("attack = {lira = 2}", "study.toml: attack: "),
        ("device = 'tpu'", "study.toml: device: 'tpu' is not one of"),
        ("[run]\nmodels = 4", "study.toml: no option 'run'."),
        ("attack = ['liira']", "Did you mean 'lira'?"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_the_file(here, text, message):
    assert message in fails(*config(text), "--dry-run")


def test_a_file_that_is_no_text(here):
    (here / "study.toml").write_bytes(b"\xff\xfe")
    assert "study.toml is not valid TOML" in fails("--config", "study.toml")


def test_a_file_that_is_not_there(here):
    result = run("--config", "nowhere.toml")
    assert result.exit_code == 2
    assert "nowhere.toml" in result.stderr


@pytest.fixture
def read_only(monkeypatch):
    """A function after which nothing can be written below a folder, as on a read-only disk; also for root."""
    real = Path.mkdir

    def forbid(folder):
        def mkdir(self, *given, **how):
            if folder in (self, *self.parents) and not self.is_dir():
                raise OSError(errno.EROFS, "Read-only file system", str(self))
            return real(self, *given, **how)

        monkeypatch.setattr(Path, "mkdir", mkdir)

    return forbid


def test_a_run_that_finds_all_in_the_store_needs_no_writable_one(here, tiny, read_only):
    words = ("--task", tiny, "--models", 4, "--attack", "confidence")
    first = ran(*words)
    shutil.rmtree(here / "store" / ".tmp")
    read_only(here / "store")
    assert ran(*words).stdout == first.stdout
    assert "0" in ran(*words, "--dry-run").stdout
    assert fails(*words[:2], "--models", 6).startswith(f"Error: Cannot write to the store {here / 'store'}: Read-only")


def test_a_store_that_cannot_be_written_is_said_before_the_first_training(here, tiny):
    (here / "file").touch()
    assert "file/store: it is not a folder; name another" in fails(
        "--task", tiny, "--models", 4, "--store", "file/store"
    )


@pytest.mark.parametrize("words", [["run", "--dry-run"], ["cache", "list"], ["cache", "verify"], ["doctor"], ["list"]])
def test_what_only_shows_makes_no_store(here, tiny, words):
    given = ["--task", tiny, "--models", "4"] if words[0] == "run" else []
    result = CliRunner().invoke(main, [*words, *given])
    assert result.exit_code in (0, 1), result.output
    assert not (here / "store").exists()
    assert not (here / "privbench-results").exists()


def test_a_disk_that_is_full_is_one_line_that_names_the_place(here, tiny, monkeypatch):
    def full(*_given, **_how):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("privbench.store.atomic.sync_file", full)
    told = fails("--task", tiny, "--models", 4)
    assert "privbench-results" in told
    assert "No space left on device" in told
    monkeypatch.setattr("privbench.store.store.try_writing", full)
    monkeypatch.setattr(module, "ensure_writable", lambda *_: None)
    told = fails("--task", tiny, "--models", 4)
    assert str(here / "store") in told
    assert "No space left on device" in told
