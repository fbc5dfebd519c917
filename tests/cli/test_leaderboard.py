from __future__ import annotations

import csv
import datetime as dt
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from privbench.cli import main
from privbench.records.files import save
from privbench.records.parts import Component, Data
from privbench.records.record import Record
from privbench.stats import metrics

DATA = Data(name="digits", fingerprint="f", classes=2, pool=400, reference=10, validation=10, test=10, duplicates=0)


def record(defense, attack, shift, *, quiet=0.0):
    """A record whose attack is right by `shift` standard deviations; with `quiet`, of so many members only."""
    rng = np.random.default_rng(0)
    member = np.stack([np.arange(400) % 2 == 0, np.arange(400) % 2 == 1])
    scores = rng.normal(size=member.shape)
    scores += shift * member * (rng.random(member.shape) >= quiet)

    def component(spec):
        return Component(spec=spec, name=spec.partition(":")[0], plugin="privbench", source="s")

    return Record(
        task=component("digits"),
        data=DATA,
        defense=component(defense),
        attack=component(attack),
        threat_model="logits",
        models=4,
        targets=2,
        shadows=2,
        seed=0,
        device="cpu",
        status="ok",
        metrics=metrics.evaluate(scores, member, scores > 0, seed=0, resamples=20),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four records, of which "loud" leaks the most by AUC and "rare" by TPR at a low FPR."""
    path = tmp_path_factory.mktemp("records")
    for each in (
        record("ce", "lira", 0.5),
        record("ce", "entropy", 0.1),
        record("loud", "lira", 1.5),
        record("rare", "lira", 8.0, quiet=0.7),
    ):
        save(each, path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["leaderboard", *map(str, arguments)])


def exported(*arguments):
    result = run("export", "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def fails(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_show(folder):
    result = run("show", folder)
    assert result.exit_code == 0, result.output
    assert "digits" in result.stdout
    for defense in ("ce", "loud", "rare"):
        [row] = [line.split() for line in result.stdout.splitlines() if line.split()[1:2] == [defense]]
        assert row[2] == "lira"  # of ce the strongest, not entropy


def test_show_every_cell(folder):
    result = run("show", "--cells", folder)
    assert result.exit_code == 0, result.output
    assert "entropy" in result.stdout


def test_rank_by_decides_the_order(folder):
    assert [row["defense"] for row in exported(folder)] == ["ce", "loud", "rare"]
    assert [row["defense"] for row in exported(folder, "--rank-by", "auc")] == ["ce", "rare", "loud"]


def test_export_formats(folder):
    assert run("export", folder).stdout.startswith("### digits")  # Markdown unless told otherwise
    assert "\\begin{tabular}" in run("export", folder, "--format", "latex").stdout
    rows = list(csv.DictReader(io.StringIO(run("export", folder, "--format", "csv").stdout)))
    assert [row["defense"] for row in rows] == ["ce", "loud", "rare"]
    assert 0.5 < float(rows[0]["auc"]) < float(rows[1]["auc"]) < 1


def test_export_of_cells(folder):
    assert sorted((row["defense"], row["attack"]) for row in exported("--cells", folder)) == [
        ("ce", "entropy"),
        ("ce", "lira"),
        ("loud", "lira"),
        ("rare", "lira"),
    ]


def test_export_to_a_file(folder, here):
    result = run("export", folder, "-o", here / "table.md")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Wrote {here / 'table.md'}.\n"
    assert (here / "table.md").read_text(encoding="utf-8") == run("export", folder).stdout


def test_an_output_that_cannot_be_written(folder, here):
    assert f"Cannot write {here / 'none' / 't.md'}" in fails("export", folder, "-o", here / "none" / "t.md")


@pytest.mark.parametrize("name", ["privbench-results", "leaderboards"])
def test_where_records_are_looked_for(here, name):
    save(record("ce", "lira", 0.5), here / name)
    assert [row["defense"] for row in exported()] == ["ce"]


def test_both_places_count(here):
    save(record("ce", "lira", 0.5), here / "privbench-results")
    save(record("loud", "lira", 1.5), here / "leaderboards")
    assert [row["defense"] for row in exported()] == ["ce", "loud"]


def test_the_folders_that_were_not_named_are_said(here):
    save(record("ce", "lira", 0.5), here / "privbench-results")
    save(record("loud", "lira", 1.5), here / "leaderboards")
    assert run("show").stderr == "Records of privbench-results and leaderboards.\n"
    assert run("show", "leaderboards").stderr == ""


def test_two_records_of_one_cell_are_said(here):
    for day, folder in ((1, "leaderboards"), (2, "privbench-results")):
        made = dt.datetime(2026, 1, day, tzinfo=dt.timezone.utc)
        save(record("ce", "lira", day).model_copy(update={"created": made}), here / folder)
    (file,) = (file.relative_to(here / "leaderboards") for file in (here / "leaderboards").rglob("*.json"))
    (said,) = run("show").stderr.splitlines()[1:]
    newer, older = f"privbench-results/{file}", f"leaderboards/{file}"
    assert said == f"Warning: {newer} replaces {older}, an older record of the same cell."


def test_records_that_differ_in_what_made_them_are_ranked_apart_with_a_word(here):
    for torch, folder in (("2.13", "leaderboards"), ("2.14", "privbench-results")):
        save(record("ce", "lira", 1.0).model_copy(update={"environment": {"torch": torch}}), here / folder)
    result = run("export")
    assert "Warning: records of digits are ranked separately, because they differ in torch.\n" in result.stderr
    assert result.stdout.count("### digits") == 2
    assert "; only records with torch 2.13; " in result.stdout


def test_attacks_can_be_declared(folder):
    def ranked(*options):
        return {row["defense"]: (row["rank"], row["lacks"]) for row in exported(folder, *options)}

    assert ranked() == {"ce": (1, ""), "loud": (2, ""), "rare": (3, "")}
    assert ranked("--attacks", "lira,entropy") == {"ce": (1, ""), "loud": (None, "entropy"), "rare": (None, "entropy")}
    assert "no attack named 'lyra'. Did you mean 'lira'?" in fails("show", folder, "--attacks", "lyra")


def test_a_board_says_what_ranks_unless_it_is_typed(here):
    save(record("loud", "lira", 1.5), here / "board")
    save(record("rare", "lira", 8.0, quiet=0.7), here / "board")
    (here / "board" / "board.toml").write_text('title = "Loud and rare"\nrank-by = "auc"\n')
    assert [row["defense"] for row in exported("board")] == ["rare", "loud"]
    assert [row["defense"] for row in exported("board", "--rank-by", "tpr@1%")] == ["loud", "rare"]
    assert "\nLoud and rare; 4 models" in run("export", "board").stdout


def test_columns_can_be_chosen(folder):
    text = run("export", folder, "--columns", "defense,auc", "--columns", "cost").stdout
    assert "| defense | AUC | cost of a model |\n| --- | ---: | ---: |\n| ce | " in text
    row = exported(folder, "--columns", "defense,auc")[0]
    assert list(row) == ["task", "setting", "defense", "auc", "auc_low", "auc_high"]
    assert "No column 'acu'. Did you mean 'auc'?" in fails("show", folder, "--columns", "acu")
    shown = run("show", folder, "--columns", "defense,auc").stdout
    assert "TPR %" not in shown.replace("ranked by TPR", "")
    assert "sees" not in shown


def test_no_records_anywhere(here):
    assert "No records here" in fails("show")
    assert "No records at nowhere" in fails("show", "nowhere")
    (here / "leaderboards").mkdir()
    assert "No records in leaderboards" in fails("show")


def test_a_wrong_ranking_names_the_right_ones(folder):
    result = run("show", folder, "--rank-by", "aux")
    assert result.exit_code == 2
    assert "tpr@1%" in result.stderr


@pytest.fixture
def damaged(tmp_path):
    """Two records of ce, and one of "loud" that was changed."""
    for each in (record("ce", "lira", 0.5), record("ce", "entropy", 0.1), record("loud", "lira", 1.5)):
        file = save(each, tmp_path)
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 3'))
    return tmp_path, file


@pytest.mark.parametrize("words", [("show",), ("show", "--cells"), ("export",), ("export", "--format", "csv")])
def test_a_damaged_record_is_named_and_the_others_are_shown(damaged, words):
    folder, file = damaged
    result = run(*words, folder)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {file} is no valid record: its content is not that of its digest, so it was changed or damaged; "
        "run its command again. It is left out.\n"
    )
    assert "lira" in result.stdout
    assert "loud" not in result.stdout


def test_a_file_is_written_of_the_others(damaged, tmp_path):
    result = run("export", damaged[0], "-o", tmp_path / "table.md")
    assert result.exit_code == 1
    assert "| ce |" in (tmp_path / "table.md").read_text()
    assert result.stderr.count("\n") == 2


def test_a_damaged_record_alone_is_named_once(damaged):
    result = run("show", damaged[1])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1


def test_each_damaged_record_is_named(damaged):
    folder, _ = damaged
    (folder / "digits" / "a\n\x1b[31m.json").write_bytes(b"\xff")
    result = run("show", folder)
    assert result.exit_code == 1
    assert [line.startswith("Error: ") for line in result.stderr.splitlines()] == [True] * 2
    assert r"a\n\x1b[31m.json is no valid record" in result.stderr


def test_garbage_is_collected_again_after_the_command(folder):
    import gc

    assert gc.isenabled()
    run("show", folder)
    assert gc.isenabled()
