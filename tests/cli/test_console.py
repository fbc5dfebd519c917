from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from privbench.cli import console
from privbench.cli.console import UNLIMITED, count_text, paragraphs, say, size_text, stdout, table, width
from privbench.cli.safe_console import SafeConsole


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


HOSTILE = "\x1b[31m[red]x[/red] :smile:\r\x07\u202egnp\x9b"
SHOWN = r"\x1b[31m[red]x[/red] :smile:\r\x07\u202egnp\x9b"


def test_sentences_show_hidden_characters(capsys):
    say(f"a {HOSTILE}\nb")
    say(HOSTILE, err=True)
    assert capsys.readouterr() == (f"a {SHOWN}\\nb\n", f"{SHOWN}\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_printed_through_a_console_reaches_the_terminal_as_a_command(terminal):
    file = io.StringIO()
    safe = SafeConsole(width=200, file=file, force_terminal=terminal, color_system=None)
    made = table(safe, HOSTILE)
    made.add_row(HOSTILE)
    safe.print(HOSTILE)
    safe.print(made)
    safe.print(Text(HOSTILE))
    assert not set(file.getvalue()) & set("\x1b\r\x07\u202e\x9b")
    assert file.getvalue().count(r"\x1b[31m[red]x[/red] :smile:") == 4
    assert "one\ntwo\n" in _printed("one\ntwo")


def _printed(text):
    file = io.StringIO()
    SafeConsole(width=80, file=file).print(text)
    return file.getvalue()


def test_every_command_prints_through_the_escapes():
    formatted = {"text, nl=False", "markdown(record)", "json.dumps", "err=True)"}  # escaped for their format, or empty
    for file in Path(console.__file__).parent.glob("*.py"):
        if file.name not in ("console.py", "streams.py"):
            for rest in file.read_text(encoding="utf-8").split("click.echo(")[1:]:
                assert rest.startswith(tuple(formatted)), file.name
