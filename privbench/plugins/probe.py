"""Probe of a plugin: its import, registration and options, tried once in a process of its own.

A plugin that ends its process, never returns, or replaces parts of other modules when it is imported would spoil every
command. A sound one is remembered by the content of its package, so that it is tried again only when it changes; one
that never returns is remembered for an hour, so that not every command waits for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import platformdirs

from privbench import __version__
from privbench.contracts import abilities
from privbench.contracts.abilities import HasThreshold, HasTraits
from privbench.contracts.attack import MembershipAttack, ReconstructionAttack
from privbench.errors import TimedOut, WorkerDied
from privbench.executors import Call
from privbench.executors.local import LocalProcesses, default_workers
from privbench.options.fields import option_infos, required_options
from privbench.store.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from privbench.executors import Port

PATIENCE = 60.0
"""Seconds that a plugin may take to be imported."""
WATCHED = ("privbench", "torch", "numpy", "random", "math", "json", "hashlib", "pickle", "builtins", "os", "time")
"""Top-level modules whose functions and classes a plugin must leave as they are."""
COMPUTING = ("torch", "privbench.learn", "privbench.population", "privbench.plugins.builtins")
"""Modules that are imported before a plugin, so that it can be seen what it replaces."""
REMEMBERED = 32
"""Number of sound plugins, or versions of them, that are remembered."""
SOUND, HUNG = "plugins.json", "plugins-that-hang.json"
"""Files in the user's cache: sound plugins with the files that they import, and when others were stopped."""
HOUR = 3600.0
"""Seconds for which it is remembered that a plugin never returned."""


class Probed(NamedTuple):
    """A plugin to be tried."""

    name: str
    value: str
    group: str
    load: Callable[[Sequence[importlib.metadata.EntryPoint]], Any]


def problems(
    entry_points: Sequence[importlib.metadata.EntryPoint],
    load: Callable[[Sequence[importlib.metadata.EntryPoint]], Any],
) -> dict[str, str]:
    """Return why plugins cannot be used, by name: those that end, hang, or change others, when they are imported.

    load: imports plugins, and returns their components

    Whatever else is wrong with a plugin is left to its import.
    """
    known, signatures = _remembered(), {entry_point.name: signature(entry_point) for entry_point in entry_points}
    hung = _stopped()
    found = {name: _late() for name, each in signatures.items() if each in hung}
    unknown = [each for each in entry_points if each.name not in found and not _sound(signatures[each.name], known)]
    if not unknown:
        return found
    executor = LocalProcesses(min(default_workers("cpu"), len(unknown)), timeout=PATIENCE)
    with executor.pool() as pool:
        pool.load(COMPUTING)
        for each in unknown:
            pool.submit(Call(probe, Probed(each.name, each.value, each.group, load), serves=each.name))
        for outcome in pool.outcomes():
            name = outcome.job.name
            if isinstance(outcome.error, TimedOut):
                hung |= {signatures[name]: time.time()} if signatures[name] else {}
                found[name] = _late()
            elif isinstance(outcome.error, WorkerDied):
                found[name] = f"its import ends the process: {outcome.error}"
            elif outcome.error is not None:  # such as KeyboardInterrupt, which would end every command
                found[name] = str(outcome.error)
            elif outcome.result[0]:
                found[name] = outcome.result[0]
            elif signatures[name]:
                known.pop(signatures[name], None)
                known[signatures[name]] = outcome.result[1]
    _write(SOUND, known)
    _write(HUNG, hung)
    return found


def _late() -> str:
    again = f"It is tried again in an hour, when its code changes, or when {_file(HUNG)} is deleted"
    return f"its import takes more than {PATIENCE:g} s. {again}."


def probe(job: Probed, _port: Port) -> tuple[str, dict[str, str]]:
    """Import a plugin, call its hooks, and build its components.

    Returns what it replaced, or "", and the files that it imported, each as `_look` sees it.
    """
    before, modules = dict(_parts()), set(sys.modules)
    entry_point = importlib.metadata.EntryPoint(job.name, job.value, job.group)
    found = job.load([entry_point])
    for entry in found.components.values():
        with contextlib.suppress(Exception):  # told when it is used
            option_infos(entry.cls)
            if not required_options(entry.cls):
                ask(entry.cls())
    after = dict(_parts())
    replaced = sorted(name for name, part in before.items() if after.get(name) is not part)
    fault = f"it replaces {', '.join(replaced[:3])} when it is imported, which would spoil others." if replaced else ""
    files = [vars(sys.modules[name]).get("__file__") for name in set(sys.modules) - modules]
    return fault, {str(file): _look(str(file)) for file in files if file}


def _look(file: str) -> str:
    """Return the size of a file and the time of its last change; "" if it is gone."""
    try:
        about = Path(file).stat()
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"


def _sound(signature: str, known: Mapping[str, Mapping[str, str]]) -> bool:
    """Return whether a plugin was tried, and no file that it imports has changed since."""
    return signature in known and all(_look(file) == look for file, look in known[signature].items())


def signature(entry_point: importlib.metadata.EntryPoint) -> str:
    """Return a hash of a plugin's code and of what it is tried with; "" if its code cannot be found."""
    try:
        spec = importlib.util.find_spec(entry_point.module.partition(".")[0])
    except (ImportError, ValueError):
        return ""
    if spec is None or spec.origin is None:
        return ""
    places = [Path(each) for each in spec.submodule_search_locations or ()]
    files = sorted(file for place in places for file in place.rglob("*.py")) or [Path(spec.origin)]
    digest = hashlib.sha256(repr((entry_point.value, __version__, sys.version)).encode())
    for file in [*files, *(Path(str(each.__file__)) for each in (abilities, sys.modules[__name__]))]:
        with contextlib.suppress(OSError):
            digest.update(repr(str(file)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def ask(component: Any) -> None:
    """Ask a component for what its class may compute: these must end too."""
    if isinstance(component, MembershipAttack | ReconstructionAttack):
        _ = component.needs
    if isinstance(component, HasThreshold):
        _ = component.threshold
    if isinstance(component, HasTraits):
        _ = component.traits


def _parts() -> Iterator[tuple[str, Any]]:
    """Yield functions, classes and methods of watched modules, by name."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in WATCHED or not isinstance(module, types.ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            if callable(value):
                yield f"{name}.{attribute}", value
            if issubclass(type(value), type) and value.__module__ == name:
                for method, function in list(vars(value).items()):
                    if callable(function):
                        yield f"{name}.{attribute}.{method}", function


def _file(name: str) -> Path:
    return platformdirs.user_cache_path("privbench") / name


def _remembered() -> dict[str, dict[str, str]]:
    """Return the files of sound plugins, by signature; none if the memory is missing or damaged."""
    try:
        known = json.loads(_file(SOUND).read_bytes())
        return {str(each): {str(file): str(look) for file, look in files.items()} for each, files in known.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def _stopped() -> dict[str, float]:
    """Return when plugins were stopped, by signature, within the last hour; none if the memory is damaged."""
    try:
        known = {str(each): float(when) for each, when in json.loads(_file(HUNG).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {each: when for each, when in known.items() if 0 <= time.time() - when < HOUR}


def _write(name: str, known: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # without it, plugins are tried again
        _file(name).parent.mkdir(parents=True, exist_ok=True)
        latest = dict(list(known.items())[-REMEMBERED:])
        atomic_write(_file(name), json.dumps(latest, indent=1).encode())
