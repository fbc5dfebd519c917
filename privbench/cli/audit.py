"""`privbench audit`: audits of populations, and of existing predictions and data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from privbench.cli import shared
from privbench.cli.config import with_config
from privbench.cli.console import say, stdout, warn_problems
from privbench.errors import UnknownName, did_you_mean
from privbench.escapes import printable_lines
from privbench.store.atomic import ensure_writable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.records.audit_record import AuditRecord

OWN = {
    "predictions": ("privbench.cli.audit_predictions", "predictions", "A model's predictions, in a file."),
    "dataset": ("privbench.cli.audit_dataset", "dataset", "A synthetic data set made elsewhere."),
    "show": ("privbench.cli.audit_show", "show", "Results of earlier audits."),
}
"""Commands other than audits of a population: module, command, and its line in the help."""
EPILOG = """\b
Examples:
  privbench audit privacy-levels --task digits --defense ce --models 16
  privbench audit utility-matrix --defense dp-critic --student logistic
  privbench audit overlap --config study.toml
  privbench audit predictions logits.npz
  privbench audit dataset real.npz synthetic.npz --holdout holdout.npz
\b
All audits: privbench list audits.   Details of one: privbench list audit NAME
"""


class AuditGroup(click.Group):
    """A group with a command for every installed audit, and for audits of existing data."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all audits and of the other subcommands."""
        from privbench.plugins.loading import catalogue

        return [*catalogue().of("audit"), *OWN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of one audit, named with or without options. Raises UnknownName, BadOption."""
        if cmd_name in OWN:
            import importlib

            module, attribute, summary = OWN[cmd_name]
            command: click.Command = getattr(importlib.import_module(module), attribute)
            command.short_help = summary
            return command
        return _command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the requested audit. Raises UnknownName with the closest existing name."""
        name = args[0].partition(":")[0]
        known = self.list_commands(ctx)
        if name not in known and not ctx.resilient_parsing:
            raise UnknownName(f"No audit named {name!r}.{did_you_mean(name, known)} Audits: {', '.join(known)}.")
        return args[0], self.get_command(ctx, args[0]), args[1:]


@click.group(cls=AuditGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def audit() -> None:
    """Run audits: privacy levels, expected privacy loss, utility, and audits of existing data.

    `privbench audit NAME` trains the population that it needs, like `privbench run`, and takes stored models from the
    store.
    """


def _command(text: str) -> click.Command:
    """Return the command of one audit."""
    from privbench.cli.console import summary
    from privbench.plugins.loading import resolve

    chosen = resolve("audit", text)

    @click.command(name=text, short_help=summary(type(chosen)), help=_help(chosen))
    @shared.components("task", "Task, with options. Repeatable.  [default: digits]", ("digits",))
    @shared.components(
        "defense", "Defense; parts joined by + are composed. Repeatable, or 'all'.  [default: ce]", ("ce",)
    )
    @click.option("--models", type=int, default=16, show_default=True, help="Models per task and defense.")
    @click.option(
        "--student",
        type=click.Choice(["task", "logistic", "cnn", "mlp"]),
        help="Student model, for audits that train one: the option 'student' of the audit.",
    )
    @shared.seed
    @shared.salt
    @shared.jobs
    @shared.timeout
    @shared.device
    @shared.out("records and arrays")
    @shared.store
    @shared.config
    @click.pass_context
    def command(ctx: click.Context, /, **options: Any) -> None:
        if options["config"]:
            options = with_config(ctx, options, lists=("task", "defense"))
        records = _conduct(chosen, options)
        from privbench.report.audits import render

        console = stdout()
        for record in records:
            console.print(render(record))
        say(f"Records and arrays are in {options['out']}.", err=True)
        if any(record.status == "failed" for record in records):
            ctx.exit(1)

    return command


def _help(chosen: Any) -> str:
    from privbench.options.fields import spec

    doc = printable_lines((type(chosen).__doc__ or "").strip().replace("\n    ", "\n"))
    return f"{doc}\n\nOptions: {spec(chosen)}:option=value. `privbench list audit {chosen.name}` lists them."


def _conduct(chosen: Any, options: Mapping[str, Any]) -> list[AuditRecord]:
    from privbench.cli.progress import Progress
    from privbench.cli.run import command_of, executor_of, grid_of
    from privbench.grid.audits import conduct, has_fixed_members, with_student
    from privbench.options.fields import spec
    from privbench.store.store import Store, default_root

    warn_problems()
    if options["student"]:
        chosen = with_student(chosen, options["student"])
    grid = grid_of({**options, "fixed": has_fixed_members(chosen)})
    store = Store(options["store"] or default_root())
    ensure_writable(options["out"], "records")
    with Progress(before=store.prepare) as progress:
        return list(
            conduct(
                grid,
                [chosen],
                store,
                executor_of(options["jobs"], grid.device, options["timeout"]),
                out=options["out"],
                listener=progress,
                progress=progress.measuring,
                command=command_of(grid, "audit", spec(chosen)),
            )
        )
