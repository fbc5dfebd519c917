from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from privbench.api import Needs
from privbench.cli import main
from privbench.grid.cell import Cell
from privbench.grid.scoring import score
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.population.population import Population
from privbench.records.files import save
from privbench.store.store import Store


@component
class Mirror:
    """Gives back what it was asked for: a class as a level of grey."""

    name = "mirror"
    paper = "none"
    needs = Needs(answers="none")

    def reconstruct(self, evidence, classes):
        return (np.ones((1, *evidence.input_shape)) * classes[:, None, None, None] / 10).astype(np.float32)


@pytest.fixture(scope="module")
def results(tmp_path_factory, make_all):
    base = tmp_path_factory.mktemp("gallery")
    task = resolve("task", "digits:epochs=1,limit=200")
    each = make_all(Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", Store(base / "store")))
    for attack in (Mirror(), resolve("attack", "confidence")):
        record, raw = score(Cell(each, attack, 1, None, attacked=each, shadows=(each,)))
        save(record, base / "out", raw)
    return base / "out"


def command(*words):
    return CliRunner().invoke(main, ["gallery", *map(str, words)])


def test_a_run_is_drawn(results, tmp_path):
    from PIL import Image

    out = tmp_path / "x.png"
    result = command(results, "-o", out, "--classes", "5, 0,3", "--target", "1")
    assert result.exit_code == 0, result.output
    assert result.stderr == f"{out} shows 3 rows.\n"
    page = np.asarray(Image.open(out))
    for grey in (128, 0, 76):
        assert (page == grey).all(axis=2).sum() >= 64 * 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--classes", "0,10"), "--classes 0,10: give numbers from 0 to 9"),
        (("--classes", "a"), "--classes a: give numbers"),
        (("--target", "2"), "--target 2: the records have targets 0 to 1"),
        (("-o", "nowhere/x.png"), "Cannot write nowhere/x.png"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(results, words, message):
    result = command(results, *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1


def test_without_images_it_says_what_makes_them(results, tmp_path):
    from privbench.records.record import load

    (membership,) = (each for each in load([results]) if each.family == "membership")
    save(membership, tmp_path)
    result = command(tmp_path)
    assert result.exit_code == 2
    assert "No reconstructed images" in result.stderr
    assert "--attack inversion" in result.stderr


def test_both_tables_are_shown(results):
    result = CliRunner().invoke(main, ["leaderboard", "show", str(results)])
    assert result.exit_code == 0
    assert "confidence" in result.stdout
    assert "real test images" in result.stdout
    assert "worse for privacy" in result.stdout
    text = CliRunner().invoke(main, ["leaderboard", "export", str(results), "--format", "md"]).stdout
    assert text.count("### digits") == 2


def test_a_run_shows_both_families_each_in_its_own_table(results, capsys):
    from privbench.cli.run import show
    from privbench.records.record import load

    records = load([results])
    show(records, {"rank_by": "auc", "out": results})
    both = capsys.readouterr().out
    assert both.count("2 models") == 2
    assert both.index("confidence") < both.index("mirror")
    show([each for each in records if each.family == "reconstruction"], {"rank_by": "auc", "out": results})
    alone = capsys.readouterr().out
    assert alone.count("2 models") == 1
    assert "mirror" in alone


def test_a_damaged_record_is_named_and_the_others_are_drawn(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    damaged = next(folder.rglob("confidence-*.json"))
    damaged.write_text("{")
    result = command(folder, "-o", tmp_path / "x.png")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0].startswith(f"Error: {damaged} is no valid record: ")
    assert result.stderr.endswith("x.png shows 3 rows.\n")
    raw = next(folder.rglob("mirror-*.npz"))
    raw.write_bytes(raw.read_bytes()[:-100])
    result = command(folder, "-o", tmp_path / "y.png")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 2)
    assert f"{raw.name} beside it is not the file that was written with it" in result.stderr
    assert not (tmp_path / "y.png").exists()
