"""`privbench run`: defenses against attacks, with a leaderboard."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from privbench.cli import shared
from privbench.cli.config import with_config
from privbench.cli.console import say, stdout, warn_problems
from privbench.cli.shell import command_line
from privbench.errors import UsageError
from privbench.store.atomic import ensure_writable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.executors import Executor
    from privbench.executors.local import LocalProcesses
    from privbench.records.record import Record
    from privbench.run import Grid
    from privbench.store.store import Store

EPILOG = """\b
Examples:
  privbench run --defense relaxloss --attack lira
  privbench run --defense all --attack all --models 32 --seed 1
  privbench run --task cifar100:model=resnet18,limit=5000 --defense relaxloss:alpha=0.5 --attack lira:queries=18
  privbench run --config study.toml --dry-run
\b
A TOML file with the same options:
  task = ["digits"]
  defense = ["ce", "relaxloss:alpha=1.5"]
  attack = ["lira"]
  models = 32
"""
LISTS = {"task": "digits", "defense": "ce", "attack": "lira"}
"""Options with a list of names, and their defaults."""


@click.command(epilog=EPILOG)
@shared.components("task", "Task, with options: name:option=value,... Repeatable, or 'all'.  [default: digits]")
@shared.components("defense", "Defense; parts joined by + are composed. Repeatable, or 'all'.  [default: ce]")
@shared.components("attack", "Attack. Repeatable, or 'all'.  [default: lira]")
@click.option(
    "--models",
    type=int,
    default=16,
    show_default=True,
    help="Models per task and defense, in complementary pairs. More make LiRA stronger; existing ones are reused.",
)
@click.option("--targets", type=int, help="Number of models used as targets.  [default: all]")
@shared.seed
@shared.salt
@shared.jobs
@shared.timeout
@shared.device
@shared.out("records and raw scores")
@shared.store
@click.option(
    "--rank-by",
    default="tpr@1%",
    show_default=True,
    metavar="NUMBER",
    help="Ranking column: tpr@1%, tpr@0.1%, auc, balanced-accuracy or canary-tpr@1%.",
)
@shared.config
@click.option(
    "--dry-run", is_flag=True, help="Only show what would be trained, what is in the store, and the approximate time."
)
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Train the defended models, attack each as an adversary that knows the defense, and print the leaderboard.

    Earlier results are taken from the store; an interrupted run continues where it stopped.
    """
    from privbench.executors.local import prepare
    from privbench.records import ranking
    from privbench.store.store import Store, default_root

    if not options["dry_run"]:
        prepare(SCORING)
    if options["config"]:
        options = with_config(ctx, options, lists=LISTS)
    options = {**options, **{name: options[name] or (default,) for name, default in LISTS.items()}}
    ranking.check(options["rank_by"])
    warn_problems()
    grid = grid_of(options)
    store = Store(options["store"] or default_root())
    executor = executor_of(options["jobs"], grid.device, options["timeout"])
    if options["dry_run"]:
        _dry_run(grid, store, executor)
        return
    ensure_writable(options["out"], "records")
    records = _run(grid, store, executor, options)
    show(records, options)
    if any(record.status == "failed" for record in records):
        ctx.exit(1)


SCORING = ("privbench.grid.scoring", "privbench.plugins.builtins", "privbench.records.selection", "scipy.special")
"""Modules that workers need even if everything is in the store: imported beside the planning."""
NAME_WIDTH = 16
"""Characters of a name in a plan that a narrow terminal does not break."""


def grid_of(options: Mapping[str, Any]) -> Grid:
    """Return the grid of the options; a command without --attack or --targets has none of them."""
    from privbench.devices import choose
    from privbench.plugins.loading import resolve_all
    from privbench.run import Grid
    from privbench.seeds import salt_of

    components = {kind: resolve_all(kind, options.get(kind, ())) for kind in LISTS}
    grid = Grid(
        tasks=components["task"],
        defenses=components["defense"],
        attacks=components["attack"],
        models=options["models"],
        targets=options.get("targets"),
        seed=options["seed"],
        device=choose(options["device"]),
        salt=salt_of(options["salt"]),
        fixed=options.get("fixed", False),
    )
    if grid.salt and grid.salt != options["salt"].lower():
        say(f"The salt is {grid.salt}: pass it as --salt to continue or extend this run.", err=True)
    return grid


LANES = 8
"""Number of models that a card trains at once by default, if its memory suffices."""
OTHERS = 4
"""Number of processes, beside those that train in lanes on cards, for what does not: plugins' code and attacks."""


def executor_of(jobs: str, device: str, timeout: float = 0.0) -> LocalProcesses:
    """Return the executor for --jobs and --timeout: on cards a process for each, with so many lanes in all of them.

    Raises UsageError for anything but a number or 'auto'.
    """
    from privbench.executors.local import LocalProcesses, default_workers

    if jobs != "auto" and (not jobs.isdecimal() or int(jobs) < 1):
        raise UsageError(f"--jobs {jobs}: give a number of at least 1, or 'auto'.")
    found, asked = default_workers(device), None if jobs == "auto" else int(jobs)
    if device != "cuda":
        return LocalProcesses(asked or found, timeout=timeout)
    if asked == 1:
        return LocalProcesses(1, gpus=1, timeout=timeout)
    lanes = LANES if asked is None else max(1, asked // found)
    others = min(asked or OTHERS, OTHERS)
    return LocalProcesses(min(asked or found, found) + others, gpus=found, lanes=lanes, timeout=timeout)


def command_of(grid: Grid, *words: str) -> str:
    """Return the command, beginning with the given words, that reproduces a grid on any machine."""
    from privbench.options.fields import spec

    parts = ["privbench", *words]
    for kind, components in zip(LISTS, (grid.tasks, grid.defenses, grid.attacks), strict=True):
        parts += [word for each in components for word in (f"--{kind}", spec(each))]
    parts += ["--models", str(grid.models)]
    parts += ["--targets", str(grid.targets)] if grid.targets is not None else []
    parts += ["--seed", str(grid.seed), *(["--salt", grid.salt] if grid.salt else []), "--device", grid.device]
    return command_line(parts)


def _run(grid: Grid, store: Store, executor: Executor, options: Mapping[str, Any]) -> list[Record]:
    from privbench.cli.progress import Progress
    from privbench.run import run as run_grid

    with Progress(before=store.prepare) as progress:
        records = run_grid(
            grid, store, executor, out=options["out"], listener=progress, command=command_of(grid, "run")
        )
        return list(records)


def _dry_run(grid: Grid, store: Store, executor: LocalProcesses) -> None:
    from privbench.builtin.tasks.stand_in import with_stand_ins
    from privbench.cli.console import count_text, table
    from privbench.cli.progress import duration_text
    from privbench.grid.damage import damage_of
    from privbench.grid.estimate import estimate, foreseen
    from privbench.options.fields import spec
    from privbench.run import plan

    tasks, absent = with_stand_ins(list(grid.tasks))
    planned = plan(replace(grid, tasks=tasks), store, timeout=executor.timeout)
    for damaged in damage_of(planned, planned.jobs()):
        say(damaged, err=True)
    lines = estimate(planned, executor)
    console = stdout()
    numbers = ("cached", "to train", "to query", "per model", "core time")
    columns = ("task", "defense", *numbers, "measured on")
    shown = table(console, *columns, right=numbers, wrap=columns)
    for line in lines:
        names = spec(line.population.task), spec(line.population.defense)
        for column, name in zip(shown.columns, names, strict=False):
            column.min_width = min(max(column.min_width or 0, len(name)), NAME_WIDTH)
        counts = (str(line.cached), str(line.to_train), str(line.to_query))
        times = (duration_text(line.seconds_per_model), duration_text(line.seconds))
        shown.add_row(*names, *counts, *times, line.basis)
    if lines:
        console.print(shown)
    for text in absent:
        console.print(text, soft_wrap=True)
    for where, verdict, reason, attacks in foreseen(planned):
        console.print(f"{where}: {', '.join(attacks)} {verdict}: {reason}", soft_wrap=True)
    training = training_text(sum(line.seconds for line in lines), executor)
    console.print(
        f"{count_text(len(planned.cells), 'cell')}; {training}. Nothing was trained. Scoring takes additional time.",
        soft_wrap=True,
    )


def training_text(seconds: float, executor: LocalProcesses) -> str:
    """Return the time of all trainings in words, given that of one after the other.

    A card's processes share it, and its lanes too: how much faster lanes are is known only when they run.
    """
    from privbench.cli.console import count_text
    from privbench.cli.progress import duration_text

    if not executor.gpus:
        return (
            f"training about {duration_text(seconds / executor.workers)} with {count_text(executor.workers, 'worker')}"
        )
    on = f"about {duration_text(seconds / executor.laned)} on {count_text(executor.laned, 'card')}"
    if executor.lanes == 1:
        return f"training {on}"
    return f"training at most {on} (what {executor.lanes} models at once on each save is not measured)"


def show(records: list[Record], options: Mapping[str, Any]) -> None:
    """Print the tables of a run: cells, the ranking, and reconstructions, each where there is one."""
    from privbench.records import leaderboard
    from privbench.report.tables import render

    cells, ranked = leaderboard.cells(records), leaderboard.frame(records, rank_by=options["rank_by"])
    tables = ([cells] if cells["attack"].nunique() > 1 else []) + [ranked, leaderboard.reconstructions(records)]
    console = stdout()
    for table in tables:
        if not table.empty:
            console.print(render(table, folders=[options["out"]]))
    say(f"Records and raw scores are in {options['out']}.", err=True)
