"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privbench.cli.console import complete_components
from privbench.devices import NAMES, card_hint

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = "privbench-results"
"""Default folder of records."""


class Device(click.Choice):  # type: ignore[type-arg]  # generic only in newer versions of click
    """The name of a device; the visible cards are used."""

    def __init__(self) -> None:
        super().__init__(NAMES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name. Fails for an invalid one, and explains how to choose among cards."""
        if str(value).startswith("cuda:"):
            self.fail(card_hint(value), param, ctx)
        return super().convert(value, param, ctx)


seed = click.option("--seed", type=int, default=0, show_default=True, help="Seed of all randomness.")
salt = click.option(
    "--salt",
    default="public",
    show_default=True,
    metavar="public|random|HEX",
    help="Hides memberships and seeds from attacks that you do not trust: random, or the digits of an earlier run. "
    "Models with another salt are retrained.",
)
jobs = click.option(
    "--jobs",
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Number of worker processes, by default one per core; on GPUs of models that are trained at once, by default "
    "8 per GPU. Results do not depend on it.",
)
timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Time for each training, attack or audit; one that takes longer fails, and the others continue.  "
    "[default: no limit]",
)
device = click.option("--device", type=Device(), default="auto", show_default=True, help="Device for training.")
store = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of trained models.  [default: PRIVBENCH_STORE, or the user's cache folder]",
)
config = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with the same options; the command line takes precedence.",
)
top = click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Number of exposed examples to show."
)


def out(holds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option --out, a folder.

    holds: the text of its contents
    """
    path = click.Path(file_okay=False, path_type=Path)
    return click.option("--out", type=path, default=RESULTS, show_default=True, help=f"Folder for {holds}.")


def components(kind: str, text: str, default: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Return the repeatable option for components of one kind: -t, -d or -a.

    text: its help
    """
    return click.option(
        f"-{kind[0]}",
        f"--{kind}",
        multiple=True,
        default=default,
        metavar="SPEC",
        shell_complete=complete_components(kind),
        help=text,
    )
