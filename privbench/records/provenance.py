"""Provenance in a record: components with their sources, data, and the machine."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import platform
from typing import TYPE_CHECKING, Any

from privbench import __version__
from privbench.data.dataset import ROLES
from privbench.data.duplicates import duplicates
from privbench.devices import card, processor
from privbench.errors import ENDS_THE_RUN, note, one_line
from privbench.escapes import printable
from privbench.options.fields import parts_of, spec
from privbench.records.parts import Component, Data
from privbench.store.fingerprint import component_key, library_versions, source_hash
from privbench.store.syntax import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privbench.data.dataset import Dataset
    from privbench.population.population import Population


MEASURING = (Reference("privbench.stats.metrics", "evaluate"), Reference("privbench.grid.measuring", "decide"))
"""Code that computes numbers and decisions from scores: with other code, numbers have another meaning."""


def component(kind: str, component: Any) -> Component:
    """Return the entry of a task, defense, attack or audit in a record."""
    from privbench.plugins.loading import catalogue

    parts = parts_of(component)
    entries = [catalogue().components.get((kind, part.name)) for part in parts]
    keys = [component_key(part) for part in parts]
    return Component(
        spec=spec(component, keyed_only=True),
        name=component.name,
        version=keys[-1]["version"],
        plugin="+".join(dict.fromkeys(entry.plugin if entry else "unregistered" for entry in entries)),
        plugin_version="+".join(dict.fromkeys(entry.version if entry else "" for entry in entries)),
        source="+".join(source for key in keys for source in _sources(key)),
    )


def _sources(key: Mapping[str, Any]) -> Iterator[str]:
    """Yield the hashes of the source of a component, and of those that its options name, from its key."""
    yield key["source"]
    for other in [*key.get("named", {}).values(), *key.get("parts", ())]:
        yield from _sources(other)


@functools.lru_cache(maxsize=2)
def data_of(dataset: Dataset) -> Data:
    """Return the entry of a data set in a record."""
    return Data(
        name=printable(dataset.name),
        fingerprint=dataset.fingerprint,
        classes=dataset.classes,
        duplicates=duplicates(dataset),
        **{role: len(dataset.rows(role)) for role in ROLES},
    )


def environment(device: str = "cpu") -> dict[str, str]:
    """Return the versions of libraries and metrics of a run, and its processor and card."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "privbench": __version__,
        **library_versions(),
        "measured by": source_hash(*MEASURING)[:16],
        "processor": processor("cpu"),
        **({} if device == "cpu" else card(device) or {"card": processor(device)}),
    }


def heading(
    task: Component,
    data: Data,
    defense: Component,
    *,
    models: int,
    seed: int,
    salt: str = "",
    device: str = "cpu",
    command: str = "",
) -> dict[str, Any]:
    """Return what records of attacks and of audits begin with: what was run on what, with which settings, and where."""
    return {
        "task": task,
        "data": data,
        "defense": defense,
        "models": models,
        "seed": seed,
        "salt": salt,
        "device": device,
        "status": "ok",
        "command": command,
        "environment": environment(device),
        "created": dt.datetime.now(dt.timezone.utc).replace(microsecond=0),
    }


def heading_of(population: Population, command: str) -> dict[str, Any]:
    """Return the heading of records of a population."""
    return heading(
        component("task", population.task),
        data_of(population.dataset),
        component("defense", population.defense),
        models=population.models,
        seed=population.seed,
        salt=population.salt,
        device=population.device,
        command=command,
    )


def failure(error: BaseException) -> dict[str, str]:
    """Return a record's status and reason, in one line, for a failure; its traceback goes to the debug log."""
    note(error)
    return {"status": "failed", "reason": one_line(error)}


@contextlib.contextmanager
def caught() -> Iterator[dict[str, str]]:
    """Lend what a record says of whatever fails in the block, SystemExit too, for others go on; nothing if none does.

    What ends the run is raised.
    """
    failed: dict[str, str] = {}
    try:
        yield failed
    except ENDS_THE_RUN:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a component does wrong spoils its own record only
        failed.update(failure(error))
