"""Command line: one file per command, imported when it runs.

`privbench --help` imports click and nothing slow. Errors for users are printed here, in one place.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, NamedTuple

import click

from privbench import __version__
from privbench.cli import mistakes, streams
from privbench.cli.console import say
from privbench.errors import PrivbenchError, UnknownName, did_you_mean
from privbench.escapes import one_line

INTERRUPTED = 130


class Lazy(NamedTuple):
    """Location of a command, and its line in `privbench --help`."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "run": Lazy("privbench.cli.run", "run", "Run defenses against attacks and print the leaderboard."),
    "list": Lazy("privbench.cli.list", "list_", "Show tasks, defenses, attacks and audits, and their options."),
    "leaderboard": Lazy("privbench.cli.leaderboard", "leaderboard", "Show or export the records of earlier runs."),
    "audit": Lazy("privbench.cli.audit", "audit", "Run audits, also of existing predictions and data sets."),
    "samples": Lazy("privbench.cli.samples", "samples", "Draw the synthetic examples of a defense."),
    "gallery": Lazy("privbench.cli.gallery", "gallery", "Draw reconstructed images next to real images."),
    "new": Lazy("privbench.cli.new", "new", "Write a new plugin: an attack, defense, task or audit."),
    "check": Lazy("privbench.cli.check", "check", "Check that components fulfil their contract."),
    "cache": Lazy("privbench.cli.cache", "cache", "List, verify or prune the trained models in the store."),
    "data": Lazy("privbench.cli.data", "data", "List, fetch or import data sets."),
    "doctor": Lazy("privbench.cli.doctor", "doctor", "Show versions, devices, plugins, and problems."),
}

EPILOG = """\b
Examples:
  privbench run --defense relaxloss --attack lira
  privbench run --defense all --attack all --models 32
  privbench list attack lira
\b
Every command has its own help: privbench run --help
Completion: eval "$(_PRIVBENCH_COMPLETE=bash_source privbench)"   (or zsh_source, fish_source)
Traceback of an error: PRIVBENCH_DEBUG=1
"""


class LazyGroup(click.Group):
    """Command group that imports its subcommands on demand and prints an error as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in a useful order for newcomers."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return one command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, summary = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        command.name, command.short_help = cmd_name, summary
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the requested command. Raises UnknownName with the closest existing one."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            hint = mistakes.elsewhere(name) or did_you_mean(name, COMMANDS)
            raise UnknownName(f"No command {name!r}.{hint} Commands: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the list of commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the name of a command, from the table, or of an option."""
        from click.shell_completion import CompletionItem

        options = click.Command.shell_complete(self, ctx, incomplete)
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=COMMANDS[name].summary) for name in names), *options]

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line, with any output encoding."""
        # Otherwise idle threads between the attacks' computations would spin on cores where workers train.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        with streams.safe_output(), streams.debug_log(wanted=_debugging()):
            return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the command line. The only other place that handles errors: see `invoke`."""
        try:
            return super().make_context(*args, **options)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            say(mistakes.told(error), err=True)
            raise click.exceptions.Exit(error.exit_code) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the requested command. The only place that handles a PrivbenchError."""
        try:
            return super().invoke(ctx)
        except PrivbenchError as error:
            if _debugging():
                raise
            say(f"Error: {one_line(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            say(mistakes.told(error), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo(err=True)
            say("Interrupted. The same command continues where it stopped.", err=True)
            ctx.exit(INTERRUPTED)


def _debugging() -> bool:
    return os.environ.get("PRIVBENCH_DEBUG", "0") not in {"", "0"}


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="privbench", message="%(prog)s %(version)s")
def main() -> None:
    """Measure what models leak about their training data: every attack on every defense, with the same models."""
