from __future__ import annotations

import datetime as dt
import sys

import pytest
from click.testing import CliRunner

from privbench.cli import cache, main
from privbench.store.artifact import save_json
from privbench.store.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with three models, answers of one, and something with a manifest of another shape; the default one."""
    made = Store(tmp_path / "store")
    monkeypatch.setenv("PRIVBENCH_STORE", str(made.root))
    for index in (0, 1):
        add(made, "model", "digits", "relaxloss:alpha=2", index)
    add(made, "model", "digits:limit=100", "ce", 0)
    add(made, "answers", "digits", "relaxloss:alpha=2", 0)
    with made.write("kept", {"name": "gan"}) as folder:
        save_json(folder / "value", {"x": 1})
    return made


def add(store, kind, task, defense, index):
    manifest = {"task": {"spec": task}, "defense": {"spec": defense}, "index": index}
    with store.write(kind, manifest) as folder:
        save_json(folder / "value", {"x": "y" * 1000})


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, ["cache", *arguments], input=stdin)


def rows(result):
    assert result.exit_code == 0, result.output
    return [tuple(part.strip() for part in line.split("  ") if part.strip()) for line in result.stdout.splitlines()]


def left(store):
    return sorted((artifact.kind, artifact.manifest.get("index")) for artifact in store.artifacts())


def test_list_sums_up(store):
    shown = rows(run("list"))
    assert [row[:4] for row in shown[1:5]] == [
        ("-", "-", "kept gan", "1"),
        ("digits", "relaxloss:alpha=2", "answers", "1"),
        ("digits", "relaxloss:alpha=2", "model", "2"),
        ("digits:limit=100", "ce", "model", "1"),
    ]
    assert {row[5] for row in shown[1:5]} == {"just now"}
    assert shown[-1][0].startswith("5 artifacts (")
    assert str(store.root) in shown[-1][0]


def test_list_long_has_a_line_for_each(store):
    shown = rows(run("list", "--long"))
    assert [row[3] for row in shown[1:6]] == ["-", "0", "0", "1", "0"]
    assert {row[6] for row in shown[1:6]} == {artifact.key[:8] for artifact in store.artifacts()}


def test_no_store_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVBENCH_STORE", str(tmp_path / "none"))
    assert run("list").stdout == f"Nothing is cached in {tmp_path / 'none'} yet.\n"
    assert run("verify").stdout == "0 artifacts checked, none damaged.\n"
    assert run("prune", "--all").stdout.startswith("Nothing to remove")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [["list"], ["verify"], ["prune", "--all"]])
def test_a_wrong_store_is_an_error_in_one_line(tmp_path, command):
    result = run(*command, "--store", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: No store at {tmp_path / 'none'}")
    assert result.stderr.count("\n") == 1


def test_a_store_by_name(tmp_path, store):
    other = Store(tmp_path / "other")
    add(other, "model", "toy", "ce", 0)
    assert rows(run("list", "--store", str(other.root)))[1][:4] == ("toy", "ce", "model", "1")


def test_verify(store):
    result = run("verify")
    assert (result.exit_code, result.stdout) == (0, "5 artifacts checked, none damaged.\n")


def test_verify_has_a_line_for_each_that_is_damaged(store):
    damaged = next(a for a in store.artifacts("model") if a.manifest["index"] == 1)
    next(damaged.path.glob("value*")).write_text("{}")
    illegible = next(store.artifacts("answers"))
    (illegible.path / "manifest.json").write_text("{")
    result = run("verify")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith("Stored answers ")
    assert lines[1].startswith("Stored model ")
    assert "value" in lines[1]
    assert lines[2:] == ["5 artifacts checked, 2 damaged."]


@pytest.mark.parametrize(
    ("filters", "remaining"),
    [
        (["--all"], []),
        (["--kind", "model"], [("answers", 0), ("kept", None)]),
        (["--kind", "model", "--kind", "kept"], [("answers", 0)]),
        (["--task", "digits", "--kind", "model"], [("answers", 0), ("kept", None)]),
        (["--task", "digits:limit=100"], [("answers", 0), ("kept", None), ("model", 0), ("model", 1)]),
        (["--defense", "relaxloss"], [("kept", None), ("model", 0)]),
        (["--defense", "relaxloss:alpha=2", "--kind", "answers"], [("kept", None), *[("model", i) for i in (0, 0, 1)]]),
    ],
)
def test_prune_removes_what_matches_every_filter(store, filters, remaining):
    before = len(left(store))
    result = run("prune", "--yes", *filters)
    assert result.exit_code == 0, result.output
    assert left(store) == remaining
    assert result.stdout.startswith(f"Removed {before - len(remaining)} artifact")
    assert "freed" in result.stdout


def test_prune_by_age(store, monkeypatch):
    assert run("prune", "--older-than", "1h", "--yes").stdout.startswith("Nothing to remove")
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=2)
    monkeypatch.setattr(cache, "now", lambda: later)
    assert "2 hours ago" in run("list").stdout
    assert run("prune", "--older-than", "3h", "--yes").stdout.startswith("Nothing to remove")
    assert run("prune", "--older-than", "1h", "--yes").stdout.startswith("Removed 5 artifacts; freed ")
    assert left(store) == []


def test_a_dry_run_removes_nothing(store):
    result = run("prune", "--all", "--dry-run")
    assert result.stdout.startswith("Would remove 5 artifacts (")
    assert len(left(store)) == 5


def test_prune_asks(store):
    refused = run("prune", "--kind", "kept", stdin="n\n")
    assert refused.exit_code == 1
    assert "Remove 1 artifact (" in refused.output
    assert len(left(store)) == 5
    assert run("prune", "--kind", "kept", stdin="y\n").exit_code == 0
    assert len(left(store)) == 4


def test_prune_all_empties_the_quarantine(store):
    waste = store.root / ".quarantine" / "damaged"
    waste.mkdir(parents=True)
    (waste / "file").write_bytes(b"x" * 5_000_000)
    assert "freed 5.0 MB" in run("prune", "--all", "--yes").stdout
    assert not waste.exists()


def test_prune_wants_to_know_what(store):
    result = run("prune", "--yes")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Give a filter for what to remove")
    assert result.stderr.count("\n") == 1
    assert len(left(store)) == 5


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1e9d", "99999999w", "soon"])
def test_a_wrong_age_is_one_line(store, age):
    result = run("prune", f"--older-than={age}")
    assert result.exit_code == 2
    assert "30d, 12h, 2w" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such users")
def test_the_users_folder_is_found_wherever_the_store_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with Store(tmp_path / "mine").write("model", {"index": 0}) as folder:
        save_json(folder / "release", {})
    monkeypatch.setenv("PRIVBENCH_STORE", "~/mine")
    assert "1 artifact" in CliRunner().invoke(main, ["cache", "list"]).output
    assert "1 artifact" in CliRunner().invoke(main, ["cache", "list", "--store", "~/mine"]).output
    monkeypatch.setenv("PRIVBENCH_STORE", "~no-such-user/mine")
    result = CliRunner().invoke(main, ["cache", "list"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_pruning_all_leaves_what_links_lead_to(tmp_path):
    store, outside = tmp_path / "store", tmp_path / "precious"
    for root in (store, outside):
        with Store(root).write("model", {"index": 0}) as folder:
            save_json(folder / "release", {})
    (store / "kept").symlink_to(outside / "model")
    (store / ".quarantine").symlink_to(outside)
    before = sorted(outside.rglob("*"))
    result = CliRunner().invoke(main, ["cache", "prune", "--all", "--yes", "--store", str(store)])
    assert result.exit_code == 0, result.output
    assert "Removed 1 artifact" in result.output
    assert sorted(outside.rglob("*")) == before
