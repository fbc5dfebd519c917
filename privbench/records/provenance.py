"""Provenance in a record: components with their sources, data, and the machine."""

from __future__ import annotations

import datetime as dt
import functools
import platform
from typing import TYPE_CHECKING, Any

from privbench import __version__
from privbench.data.dataset import ROLES
from privbench.data.duplicates import duplicates
from privbench.devices import card, processor
from privbench.errors import note, one_line, printable
from privbench.options.fields import parts_of, spec
from privbench.records.parts import Component, Data
from privbench.store.fingerprint import component_key, library_versions, source_hash
from privbench.store.syntax import Reference

if TYPE_CHECKING:
    from privbench.data.dataset import Dataset


MEASURING = (Reference("privbench.stats.metrics", "evaluate"), Reference("privbench.grid.cell", "Cell"))
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
        source="+".join(key["source"] for key in keys),
    )


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


def now() -> dt.datetime:
    """Return the time in UTC, to the second."""
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


def failure(error: BaseException) -> dict[str, str]:
    """Return a record's status and reason, in one line, for a failure; its traceback goes to the debug log."""
    note(error)
    return {"status": "failed", "reason": one_line(error)}
