"""`privbench samples`: figure of a defense's synthetic examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from privbench.cli.console import say
from privbench.cli.shared import Device
from privbench.errors import UsageError


@click.command()
@click.option("--task", default="digits", show_default=True, metavar="SPEC", help="Task of the run.")
@click.option("--defense", default="transform", show_default=True, metavar="SPEC", help="Defense of the run.")
@click.option("--model", default=0, show_default=True, type=click.IntRange(min=0), help="Index of the release.")
@click.option("--seed", default=0, show_default=True, help="Seed of the run.")
@click.option("--salt", default="public", show_default=True, metavar="public|HEX", help="Salt of the run.")
@click.option("--device", type=Device(), default="auto", show_default=True, help="Device of the run.")
@click.option("--store", type=click.Path(file_okay=False, path_type=Path), help="Folder of trained models.")
@click.option(
    "--out",
    default="samples.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Image file to write.",
)
def samples(**options: Any) -> None:
    """Draw members, and the synthetic examples of one release of a defense, into an image file.

    The release must be in the store: `privbench run` puts it there. Nothing is trained.
    """
    from privbench.builtin.generative import pixels
    from privbench.options.fields import spec
    from privbench.report import gallery
    from privbench.store.store import State

    population = population_of(options)
    index, name = options["model"], spec(population.defense)
    if population.states([index]) == [State.ABSENT]:
        raise UsageError(
            f"Model {index} of {name} on {spec(population.task)} is not in the store; "
            f"`privbench run --task {spec(population.task)} --defense {name}` with the same seed and salt trains it."
        )
    blocks = gallery.grids(population.notes(index))
    if not blocks:
        raise UsageError(f"{name} generates no images, so there is nothing to draw.")
    members = population.dataset.role("pool")[population.members(index)]
    picture = gallery.draw([("members", pixels.grid(members, population.dataset.classes)), *blocks.items()])
    try:
        picture.save(options["out"])
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot write {options['out']}: {error}.") from None
    for fact, value in population.facts([index])[0].items():
        say(f"{fact:24} {value:.4g}")
    say(f"{options['out']} shows model {index} of {name}.", err=True)


def population_of(options: dict[str, Any]) -> Any:
    """Return the population that the options name, at least as large as the model's number asks for."""
    from privbench.devices import choose
    from privbench.plugins.loading import resolve
    from privbench.population.population import Population
    from privbench.seeds import salt_of
    from privbench.store.store import Store, default_root

    task = resolve("task", options["task"])
    models = options["model"] + 2 - options["model"] % 2
    store, device = Store(options["store"] or default_root()), choose(options["device"])
    defense, salt = resolve("defense", options["defense"]), salt_of(options["salt"])
    return Population(task, task.load(), defense, models, options["seed"], device, store, salt=salt)
