"""Loading of plugins, and construction of components from texts such as "relaxloss:alpha=1".

Built-in and third-party components are loaded in the same way: by a module named in an entry point of the group
`privbench`. A plugin that cannot be loaded is kept as a `Problem` and reported; it never stops the others
(docs/design.md, rule 10).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pluggy

from privbench import __version__
from privbench.contracts.version import DECLARED, VERSION
from privbench.errors import BadOption, PluginError, PrivbenchError, UnknownName, location, note, one_line
from privbench.executors.worker import is_worker
from privbench.options import quoting
from privbench.options.fields import build, read, required_options
from privbench.plugins import hookspecs, suggestions
from privbench.plugins.registration import fault

if TYPE_CHECKING:
    import types
    from collections.abc import Iterable, Iterator, Mapping

GROUP = "privbench"
BUILTIN = "privbench"
BUILTIN_MODULE = "privbench.plugins.builtins"
KINDS = {
    "task": "register_tasks",
    "defense": "register_defenses",
    "attack": "register_attacks",
    "audit": "register_audits",
}


@dataclass(frozen=True)
class Registered:
    """A component class and its plugin."""

    kind: str
    name: str
    cls: type
    plugin: str
    version: str


@dataclass(frozen=True)
class Problem:
    """A skipped plugin, or part of one, and the reason."""

    plugin: str
    reason: str


@dataclass
class Catalogue:
    """All installed components."""

    plugins: dict[str, str] = field(default_factory=dict)
    components: dict[tuple[str, str], Registered] = field(default_factory=dict)
    clashes: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def of(self, kind: str) -> dict[str, Registered]:
        """Return the components of one kind by name, sorted; without names that two plugins claim."""
        entries = sorted(self.components.items())
        return {name: entry for (k, name), entry in entries if k == kind and (k, name) not in self.clashes}

    def get(self, kind: str, name: str) -> Registered:
        """Return one component. Raises UnknownName with a suggestion, PluginError if two plugins clash."""
        if (kind, name) in self.clashes:
            raise PluginError(self.clashes[kind, name])
        known = self.of(kind)
        if name not in known:
            listing = ", ".join(known) or "none"
            hint = suggestions.for_name(kind, name, {each: self.of(each) for each in KINDS})
            hint = _or_of_data(name, hint) if kind == "task" else hint
            raise UnknownName(f"No {kind} named {name!r}.{hint} Installed: {listing}.")
        return known[name]

    def add(self, entry: Registered) -> None:
        """Add a component; if the name is taken, record the clash of the two plugins."""
        key = (entry.kind, entry.name)
        other = self.components.get(key)
        if other is None:
            self.components[key] = entry
            return
        text = f"{entry.kind} {entry.name!r} is registered by both plugin {other.plugin!r} and plugin {entry.plugin!r}"
        if other.plugin == entry.plugin:
            text = f"{entry.kind} {entry.name!r} is registered twice; the first stays."
        elif other.plugin == BUILTIN:
            text += "; the built-in one stays."
        else:
            text += f"; uninstall one, or set PRIVBENCH_PLUGINS={other.plugin}."
            self.clashes[key] = text[0].upper() + text[1:]
        self.problems.append(Problem(entry.plugin, text))


@functools.lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """Return the installed components, loaded once per process; PRIVBENCH_PLUGINS=a,b limits them to these plugins.

    A plugin is tried in a process of its own first; see `probe.py`.
    """
    entry_points = list(importlib.metadata.entry_points(group=GROUP))
    others = [each for each in _wanted(entry_points) if each.name != BUILTIN]
    refused: dict[str, str] = {}
    if others and not is_worker():
        from privbench.plugins import probe

        refused = probe.problems(others, load)
    with _as_it_was():
        found = load(each for each in entry_points if each.name not in refused)
    found.problems += [Problem(name, reason) for name, reason in refused.items()]
    return found


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what the imports in the block do to this process: its folder, environment, and rights of new files."""
    folder, environment, mask = Path.cwd(), dict(os.environ), os.umask(0)
    os.umask(mask)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.chdir(folder)
        os.umask(mask)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)


def load(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Catalogue:
    """Load plugins, built-ins first, and collect their components and problems."""
    found = Catalogue()
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for entry_point in sorted(_wanted(entry_points), key=lambda e: (e.value != BUILTIN_MODULE, e.name, e.value)):
        reason = _register(manager, entry_point)
        if reason:
            found.problems.append(Problem(entry_point.name, reason))
        else:
            found.plugins[entry_point.name] = entry_point.dist.version if entry_point.dist else __version__
    for kind, hook in KINDS.items():
        implementations = getattr(manager.hook, hook).get_hookimpls()
        for implementation in sorted(implementations, key=lambda i: (i.plugin_name != BUILTIN, i.plugin_name)):
            _collect(found, kind, implementation)
    return found


def resolve(kind: str, text: str, options: Mapping[str, Any] | None = None) -> Any:
    """Build the component of a text such as "lira:queries=2".

    A defense may be a chain with `+`. Raises UnknownName or BadOption, each with the closest correct name.
    """
    if kind == "defense":
        from privbench.population.composition import chain

        parts = quoting.split(text, r"\+(?=[a-z])")
        if options and len(parts) > 1:
            raise BadOption(f"{text!r} is a chain: write its options into the text, as in 'a:option=value+b'.")
        return chain([_one(kind, part, options) for part in parts])
    return _one(kind, text, options)


def resolve_all(kind: str, texts: Iterable[str]) -> list[Any]:
    """Build several components, each once; "all" means every installed one without required options."""
    components: dict[Any, None] = {}
    for text in texts:
        names: Iterable[str] = _complete(kind) if text == "all" else [text]
        components.update(dict.fromkeys(resolve(kind, name) for name in names))
    return list(components)


def _or_of_data(name: str, hint: str) -> str:
    """Return the meaning of an unknown task name as user data, if that is likelier than the hint."""
    from privbench.data.imported import of_data, of_imported

    return of_imported(name) or hint or of_data(name)


def _complete(kind: str) -> list[str]:
    """Return the names of the components without required options: among the tasks, `npz` needs a path."""
    return [name for name, entry in catalogue().of(kind).items() if not required_options(entry.cls)]


def _one(kind: str, text: str, options: Mapping[str, Any] | None) -> Any:
    name, given = read(text, lambda name, part, rest: _misread(kind, name, part, rest))
    cls = catalogue().get(kind, name).cls
    try:
        return build(cls, {**given, **(options or {})})
    except (PrivbenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{kind} {text!r} cannot be built: {one_line(error)}") from error


def _misread(kind: str, name: str, part: str, rest: str) -> str:
    """Return a hint for a part of a component's options that cannot be read. Raises UnknownName."""
    return suggestions.for_options(name, part, rest, required_options(catalogue().get(kind, name).cls))


def _register(manager: pluggy.PluginManager, entry_point: importlib.metadata.EntryPoint) -> str:
    """Load one plugin; return its problems, if any. A refused plugin leaves no trace."""
    if manager.has_plugin(entry_point.name):
        return f"another plugin is named {entry_point.name!r} too; {entry_point.value!r} is left out."
    try:
        module = entry_point.load()
        if (wanted := getattr(module, DECLARED, VERSION)) != VERSION:
            have = f"this privbench {__version__} has {VERSION}"
            return f"it is written for version {wanted!r} of privbench.api, and {have}."
        manager.register(module, name=entry_point.name)
        manager.check_pending()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a plugin does wrong, SystemExit too, the others go on
        if manager.has_plugin(entry_point.name):
            manager.unregister(name=entry_point.name)
        note(error)
        return _told(error, entry_point.module)
    if not manager.get_hookcallers(module):
        return f"{entry_point.value!r} registers nothing; decorate its hooks with @privbench.hookimpl."
    return ""


def _told(error: BaseException, module: str) -> str:
    """Return what is wrong with a plugin, in one line that names the file and line of its own code."""
    where = location(error, module)
    return one_line(error) + (f" ({where})" if where else "")


def _wanted(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Iterator[importlib.metadata.EntryPoint]:
    """Omit plugins excluded by PRIVBENCH_PLUGINS, and duplicate entry points in the metadata."""
    narrowed = os.environ.get("PRIVBENCH_PLUGINS")
    wanted = None if narrowed is None else {BUILTIN, *(name.strip() for name in narrowed.split(","))}
    seen = set()
    for entry_point in entry_points:
        identity = (entry_point.name, entry_point.value)
        if identity not in seen and (wanted is None or entry_point.name in wanted):
            seen.add(identity)
            yield entry_point


def _collect(found: Catalogue, kind: str, implementation: pluggy.HookImpl) -> None:
    plugin = implementation.plugin_name
    try:
        classes = list(cast("Iterable[Any]", implementation.function()))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        note(error)
        told = _told(error, cast("types.ModuleType", implementation.plugin).__name__)
        found.problems.append(Problem(plugin, f"{KINDS[kind]}: {told}"))
        return
    for cls in classes:
        if wrong := fault(kind, cls):
            found.problems.append(Problem(plugin, f"{KINDS[kind]}: {wrong}"))
        else:
            found.add(Registered(kind, cls.name, cls, plugin, found.plugins[plugin]))
