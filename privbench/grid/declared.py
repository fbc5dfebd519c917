"""What attacks and defenses declare by properties: `needs`, `threshold` and `traits`, tried in another process first.

Where they are read, one that exits or hangs would end the command. A plugin's components with default options are tried
when the plugin is (`privbench.plugins.probe`); here, those with other options, and those of no plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench.contracts.abilities import traits_of
from privbench.errors import CellFailed, TimedOut, WorkerDied
from privbench.executors import Call
from privbench.executors.local import LocalProcesses, default_workers
from privbench.executors.worker import is_worker
from privbench.grid.calls import PATIENCE, sendable, serves
from privbench.options.fields import parts_of, spec
from privbench.plugins.loading import catalogue
from privbench.plugins.probe import ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

tried: dict[tuple[type, str], str] = {}
"""Why the declarations of a component, by class and options, cannot be read; "" if they can."""


def try_all(components: Mapping[str, Iterable[Any]], timeout: float = 0.0) -> None:
    """Try what components of each kind declare, each in a process of its own; `check` tells of those that failed.

    timeout: seconds after which one is stopped, if that is less than usual; 0: as usual
    """
    parts = [(kind, part) for kind, some in components.items() for each in some for part in parts_of(each)]
    unknown = {_key(part): part for kind, part in parts if not _known(kind, part)}
    untried = {key: part for key, part in unknown.items() if key not in tried}
    if not untried or is_worker():
        return
    patience = min(timeout or PATIENCE, PATIENCE)
    with LocalProcesses(min(default_workers("cpu"), len(untried)), timeout=patience).pool() as pool:
        for part in untried.values():
            pool.submit(Call(_declares, part, serves(part)))
        for outcome in pool.outcomes():
            failed = isinstance(outcome.error, WorkerDied | TimedOut)  # what it raises is told when it is read
            why = f"asked for its `needs`, `threshold` or `traits`: {outcome.error}" if failed else ""
            tried[_key(outcome.job)] = why


def check(component: Any) -> None:
    """Raise CellFailed, with the reason, for a component whose declarations must not be read."""
    part: Any
    classes = {cls for cls, _ in tried}
    for part in parts_of(component):
        if type(part) in classes and (why := tried.get(_key(part))):
            raise CellFailed(why if part is component else f"{part.name}: {why}")


def check_traits(defense: Any) -> None:
    """Raise CellFailed for a defense whose traits cannot be read, or are none."""
    check(defense)
    for part in parts_of(defense):
        traits_of(part)


def _declares(component: Any, _port: object) -> None:
    ask(component)


def _known(kind: str, part: Any) -> bool:
    """Return whether a component need not be tried, or cannot be."""
    if not sendable(part) or not serves(part):
        return True
    text = spec(part)
    entry = catalogue().components.get((kind, text))  # a name without options
    return entry is not None and entry.cls is type(part)


def _key(part: Any) -> tuple[type, str]:
    return type(part), spec(part)
