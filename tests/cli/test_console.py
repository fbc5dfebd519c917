from __future__ import annotations

import io

import pytest
from rich.console import Console

from privbench.cli.console import UNLIMITED, count_text, paragraphs, size_text, stdout, width


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1400, "1.4 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")]
)
def test_sizes(size, text):
    assert size_text(size) == text


def test_counts():
    assert (count_text(1, "model"), count_text(0, "model")) == ("1 model", "0 models")


def test_paragraphs_are_filled_and_code_stays():
    text = "one two\nthree\n\n    x = 1\n    y = 2\n\nfour"
    assert paragraphs(Console(width=9), text) == "one two\nthree\n\n    x = 1\n    y = 2\n\nfour"
    assert paragraphs(Console(width=80), text).startswith("one two three\n")


def test_a_pipe_has_no_width_but_columns_gives_one(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout().width == UNLIMITED
    monkeypatch.setenv("COLUMNS", "80")
    assert stdout().width == 80


def test_aligned_formulas_stay():
    text = "online:    a\noffline:   b"
    assert paragraphs(Console(width=80), text) == text


@pytest.mark.parametrize(
    ("columns", "expected"),
    [("", 10_000), ("0", 10_000), ("-5", 10_000), ("abc", 10_000), ("1", 40), ("120", 120), ("9" * 20, 10_000)],
)
def test_a_width_that_is_not_known_is_that_of_a_pipe(monkeypatch, capsys, columns, expected):
    monkeypatch.setenv("COLUMNS", columns)
    assert stdout().width == expected
    stdout().print("something")
    assert capsys.readouterr().out == "something\n"


def test_a_terminal_that_does_not_know_its_size_has_the_usual_one(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "0")
    assert width(Terminal()) == 80
    assert width(None) == 10_000
