from __future__ import annotations

import os
import subprocess
import sys
import types

import click
import pytest
from click.testing import CliRunner

from privbench import __version__, cli
from privbench.cli import COMMANDS, Lazy, main
from privbench.errors import BadOption, PrivbenchError

HEAVY = {"torch", "numpy", "pydantic", "pandas", "rich", "sklearn", "scipy"}


@pytest.fixture
def command(monkeypatch):
    """Put a command `boom` on the command line that does what the test says."""

    def install(function):
        module = types.ModuleType("fake_command")
        module.boom = click.command("boom")(function)
        monkeypatch.setitem(sys.modules, "fake_command", module)
        monkeypatch.setitem(COMMANDS, "boom", Lazy("fake_command", "boom", "Fail."))

    return install


def raiser(error):
    def fail():
        raise error

    return fail


def python(code, **environ):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environ}
    )


def imported_by(*arguments):
    """Return which heavy modules one command imports."""
    done = python(
        "import sys\nfrom privbench.cli import main\n"
        f"try:\n    main({list(arguments)!r}, prog_name='privbench')\n"
        "except SystemExit as done:\n    assert not done.code\n"
        f"print('imported:', *sorted({HEAVY!r} & set(sys.modules)))"
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_heavy():
    assert imported_by("--help") == set()


def test_version_imports_nothing_heavy():
    assert imported_by("--version") == set()


def test_list_does_not_import_torch():
    assert imported_by("list") & {"torch", "pandas", "sklearn"} == set()


def test_help_names_every_command_with_its_summary():
    shown = " ".join(CliRunner().invoke(main, ["--help"], terminal_width=100).output.split())
    for name, lazy in COMMANDS.items():
        assert f"{name} {lazy.summary}" in shown
    assert "_PRIVBENCH_COMPLETE" in shown


def test_version():
    assert CliRunner().invoke(main, ["--version"]).output == f"privbench {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_help(name):
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name}")


def test_a_loaded_command_carries_the_summary_of_the_table():
    loaded = main.get_command(click.Context(main), "list")
    assert loaded.get_short_help_str(limit=200) == COMMANDS["list"].summary


@pytest.mark.parametrize(("typed", "meant"), [("lst", "list"), ("rnu", "run"), ("docter", "doctor")])
def test_an_unknown_command_is_one_line_with_the_nearest(typed, meant):
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.stderr
    assert result.stderr.startswith("Error: No command")
    assert result.stderr.count("\n") == 1


def test_an_unknown_option_before_the_command_is_an_error():
    result = CliRunner().invoke(main, ["--bogus"])
    assert result.exit_code == 2
    assert "--bogus" in result.stderr


@pytest.mark.parametrize(("error", "code"), [(PrivbenchError("no\nluck"), 1), (BadOption("no\nluck"), 2)])
def test_errors_for_people_are_one_line_with_their_exit_code(command, error, code):
    command(raiser(error))
    result = CliRunner().invoke(main, ["boom"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "Error: no luck\n")


def test_debug_shows_the_traceback(command):
    command(raiser(BadOption("no luck")))
    result = CliRunner().invoke(main, ["boom"], env={"PRIVBENCH_DEBUG": "1"})
    assert isinstance(result.exception, BadOption)
    assert isinstance(CliRunner().invoke(main, ["boom"], env={"PRIVBENCH_DEBUG": "0"}).exception, SystemExit)


def test_a_bug_keeps_its_traceback(command):
    command(raiser(ZeroDivisionError("a bug")))
    assert isinstance(CliRunner().invoke(main, ["boom"]).exception, ZeroDivisionError)


def test_an_interrupt_says_that_nothing_is_lost(command):
    command(raiser(KeyboardInterrupt()))
    result = CliRunner().invoke(main, ["boom"])
    assert result.exit_code == 130
    assert result.stderr.strip() == "Interrupted. The same command continues where it stopped."


def test_a_closed_pipe_is_quiet():
    """`privbench list --json | head -c 10`: the reader leaves while much is still to be written."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "privbench", "list", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PRIVBENCH_PLUGINS": ""},
    )
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("module", ["privbench", "privbench.cli"])
def test_python_dash_m(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"privbench {__version__}\n"


def test_importing_the_main_module_runs_nothing():
    """Worker processes that are spawned import it again."""
    assert python("import privbench.__main__, privbench.cli.__main__").stdout == ""


def complete(words, position):
    """Return what bash is offered at one position of a command line."""
    done = python(
        "from privbench.cli import main; main(prog_name='privbench')",
        _PRIVBENCH_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(position),
    )
    assert done.stderr == ""
    return {line.partition(",")[2] for line in done.stdout.splitlines()}


def test_completion_of_commands_and_options():
    assert complete("privbench ", 1) == set(COMMANDS)
    assert complete("privbench le", 1) == {"leaderboard"}
    assert "--version" in complete("privbench --", 1)


def test_completion_loads_no_command_to_name_it(monkeypatch):
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    assert [item.value for item in main.shell_complete(click.Context(main), "ca")] == ["cache"]


@pytest.mark.parametrize(("given", "used"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_leave_cores_to_workers_unless_told_otherwise(monkeypatch, given, used):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    CliRunner().invoke(main, ["list", "tasks"])
    assert os.environ["OMP_WAIT_POLICY"] == used
