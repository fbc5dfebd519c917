"""`privbench check`: contract checks of components."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from privbench.cli import console as out
from privbench.cli.shared import Device
from privbench.errors import location, note, one_line
from privbench.executors import Call
from privbench.executors.local import LocalProcesses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from privbench.executors import Pool

EPILOG = """\b
Examples:
  privbench check lira
  privbench check relaxloss:alpha=2 attack:my-attack
  privbench check relaxloss --device cuda
"""
FAILED = 1


@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=out.complete_names)
@click.option(
    "--salt",
    default="random",
    show_default=True,
    metavar="random|public|HEX",
    help="Salt of the populations in checks; a failing check prints its salt.",
)
@click.option("--device", type=Device(), default="cpu", show_default=True, help="Device for training and queries.")
@click.pass_context
def check(ctx: click.Context, names: tuple[str, ...], salt: str, device: str) -> None:
    """Check that components fulfil their contract: determinism, unmodified evidence, no leak by mere counting, ...

    NAME is as for `run`, including options: lira, relaxloss:alpha=2, or attack:lira if two kinds share a name.
    The exit code is 1 if a check fails. Plugin authors run the same checks in pytest: privbench.testing.
    """
    from privbench.devices import choose
    from privbench.plugins.loading import resolve
    from privbench.seeds import salt_of

    salt, device = salt_of(salt), choose(device)
    out.warn_problems()
    found = [out.find(name) for name in names]
    components = [(kind, text, resolve(kind, text)) for kind, text in found]
    console = out.stdout()
    failed = sum(_check(console, *component, salt=salt, device=device) for component in components)
    if failed:
        ctx.exit(FAILED)


def _check(console: Console, kind: str, text: str, component: Any, **where: str) -> int:
    """Print one line per check; return the number of failures.

    where: salt and device of `checks_for`
    """
    from privbench.grid.calls import sendable, serves
    from privbench.testing import checks_for

    console.print(f"{kind} {text}", style="bold cyan")
    checks, failed, start = list(checks_for(component, **where)), 0, time.perf_counter()
    wide = max((len(check.name) for check in checks), default=0)
    own = LocalProcesses(1).pool() if serves(component) and sendable(component) else contextlib.nullcontext()
    with own as pool:
        for index, check in enumerate(checks):
            with console.status(f"{check.name}: {check.description}"):
                asked = Asked(component, index, where)
                reason = _reason(check, component) if pool is None else _elsewhere(pool, asked, serves(component))
            failed += bool(reason)
            console.print("  FAIL " if reason else "  pass ", style="bold red" if reason else "green", end="")
            console.print(f" {check.name:<{wide}}  {reason or check.description}", soft_wrap=True)
    verdict = f"{failed} failed" if failed else "none failed"
    took = time.perf_counter() - start
    console.print(f"  {out.count_text(len(checks), 'check')}, {verdict}, {took:.1f} s\n", soft_wrap=True)
    return failed


class Asked(NamedTuple):
    """One check of a component, as sent to its process."""

    component: Any
    number: int
    where: Mapping[str, str]


def _elsewhere(pool: Pool, asked: Asked, serves: str) -> str:
    """Run one check in the process of its component; return the reason of a failure."""
    pool.submit(Call(_asked, asked, serves))
    (outcome,) = pool.outcomes()
    return outcome.result if outcome.error is None else str(outcome.error)


def _asked(asked: Asked, _port: object) -> str:
    from privbench.testing import checks_for

    return _reason(list(checks_for(asked.component, **asked.where))[asked.number], asked.component)


def _reason(check: Any, component: Any) -> str:
    """Run one check; return the reason of a failure, in one line, or an empty text."""
    try:
        check.run()
    except AssertionError as error:
        return " ".join(str(error).split()) or "failed without a message"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a broken component may raise anything, and the other checks still run
        note(error)
        where = location(error, type(component).__module__)
        return one_line(error) + (f" ({where})" if where else "")
    return ""
