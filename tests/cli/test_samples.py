from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from privbench.api import Examples, Prepared, component
from privbench.builtin.generative import pixels
from privbench.cli import main
from privbench.plugins.loading import resolve
from privbench.population.composition import chain
from privbench.population.population import Population
from privbench.population.releases import make
from privbench.report import gallery


@component
class Painter:
    """Publishes grey squares."""

    name: ClassVar[str] = "painter"

    def prepare(self, task, members, ctx):
        fake = Examples(np.full_like(members.x, 99), members.y)
        return Prepared(members, fake, {"diversity": 0.25}, {"grid/generated": pixels.grid(fake, task.classes)})


@pytest.fixture
def painted(store, monkeypatch):
    task, defense = resolve("task", "digits:epochs=1,limit=200"), chain([Painter()])
    population = Population(task, task.load(), defense, 4, 0, "cpu", store)
    for job in population.missing([1])[2:3]:
        make(job, lambda done, stage="": None)
    monkeypatch.setattr(
        "privbench.plugins.loading.resolve", lambda kind, text: defense if text == "painter" else resolve(kind, text)
    )
    return store


def samples(store, *words):
    fixed = ("--task", "digits:epochs=1,limit=200", "--store", str(store.root), "--device", "cpu")
    return CliRunner().invoke(main, ["samples", *fixed, *words])


def test_members_and_what_was_generated_are_drawn_and_the_facts_said(painted, tmp_path):
    from PIL import Image

    out = tmp_path / "sheet.png"
    result = samples(painted, "--defense", "painter", "--model", "2", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "diversity                0.25" in result.stdout
    page = np.asarray(Image.open(out))
    assert (page == 99).all(axis=2).sum() > 10 * 7 * 40 * 40
    assert page.shape[1] == 2 * 8 * 42 + 3 * gallery.MARGIN


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--defense", "painter", "--model", "1"), "Model 1 of painter .* is not in the store; `privbench run"),
        (
            ("--defense", "painter", "--model", "2", "--salt", "0" * 32),
            "Model 2 of painter .* with the same seed and salt",
        ),
        (("--defense", "painter", "--salt", "12"), "--salt 12: give 32 hexadecimal digits"),
        (("--defense", "ce", "--model", "1"), "Model 1 of ce .* is not in the store"),
        (("--defense", "painter", "--model", "2", "--out", "nowhere/x.png"), "Cannot write nowhere/x.png"),
    ],
)
def test_what_is_missing_is_said_in_one_line(painted, words, message):
    import re

    result = samples(painted, *words)
    assert result.exit_code == 2
    assert re.match(f"Error: {message}", result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


def test_a_defense_without_pictures_is_told_apart(painted):
    task = resolve("task", "digits:epochs=1,limit=200")
    ce = Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", painted)
    make(ce.missing([1])[0], lambda done, stage="": None)
    result = samples(painted, "--defense", "ce")
    assert "ce generates no images, so there is nothing to draw" in result.stderr
