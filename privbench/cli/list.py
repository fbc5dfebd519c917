"""`privbench list`: installed components, and the options of each."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import click

from privbench.cli import console as out
from privbench.errors import UnknownName, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from privbench.api import Needs
    from privbench.options.fields import OptionInfo
    from privbench.plugins.loading import Registered

CHOICES = 24
"""Maximum width of an option's values; longer ones wrap, which leaves room for the help."""
EPILOG = """\b
Examples:
  privbench list
  privbench list attacks
  privbench list attack lira
  privbench list relaxloss --json
"""


def _complete_first(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    kinds = [kind for kind in out.KINDS if kind.startswith(incomplete)]
    return [*kinds, *(item.value for item in out.complete_names(ctx, param, incomplete))]


def _complete_second(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    kind = out.kind_of(ctx.params.get("kind") or "")
    return [i for i in out.complete_components(kind)(ctx, param, incomplete) if i.value != "all"] if kind else []


@click.command("list", epilog=EPILOG)
@click.argument("kind", required=False, shell_complete=_complete_first)
@click.argument("name", required=False, shell_complete=_complete_second)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all options of all listed components.")
def list_(kind: str | None, name: str | None, *, as_json: bool) -> None:
    """Show installed components; with a NAME its options, presets, paper and threat model.

    KIND is task, defense, attack or audit, in singular or plural. It may be omitted before a NAME that only one
    component has.
    """
    out.warn_problems()
    kinds, chosen = _select(kind, name)
    if as_json:
        click.echo(json.dumps(details(chosen) if chosen else _everything(kinds), indent=2, default=str))
    elif chosen:
        _show(out.stdout(), chosen)
    else:
        _overview(out.stdout(), kinds)


def details(entry: Registered) -> dict[str, Any]:
    """Return the output of `privbench list NAME` as JSON-compatible data."""
    from privbench.contracts.threat import threat_model
    from privbench.options.about import about
    from privbench.options.fields import is_component, option_infos

    needs = needs_of(entry)
    return {
        "kind": entry.kind,
        "name": entry.name,
        "plugin": entry.plugin,
        "version": entry.version,
        "description": inspect.cleandoc(entry.cls.__doc__ or ""),
        "paper": about(entry.cls).paper or None,
        "threat_model": threat_model(needs) if needs else None,
        "options": [
            {
                "name": info.name,
                "type": info.type,
                "required": _required(info),
                "default": None
                if _required(info)
                else _value(info.default)
                if is_component(info.default)
                else info.default,
                "range": info.range,
                "help": info.help,
            }
            for info in option_infos(entry.cls)
        ],
        "presets": {name: dict(values) for name, values in about(entry.cls).presets.items()},
    }


def needs_of(entry: Registered) -> Needs | None:
    """Return the threat model that an attack has by default; None for one that depends on options, and other kinds."""
    from privbench.api import Needs

    cls: Any = entry.cls
    needs = cls.needs if entry.kind == "attack" else None
    if not isinstance(needs, Needs) and needs is not None:
        try:
            needs = cls().needs
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - a plugin's property may do anything, and options may be required
            return None
    return needs if isinstance(needs, Needs) else None


def _select(kind: str | None, name: str | None) -> tuple[Sequence[str], Registered | None]:
    """Return the kinds to list, or the one component to show."""
    from privbench.plugins.loading import catalogue

    if kind is None:
        return out.KINDS, None
    known = out.kind_of(kind)
    if name is None:
        if known:
            return [known], None
        known, name = out.find(kind, also=[*out.KINDS, *out.PLURALS])
        name = name.partition(":")[0]
    if known is None:
        hint = did_you_mean(kind, [*out.KINDS, *out.PLURALS])
        raise UnknownName(f"No kind {kind!r}.{hint} Kinds: {', '.join(out.KINDS)}.")
    return [known], catalogue().get(known, name)


def _everything(kinds: Sequence[str]) -> dict[str, Any]:
    from privbench.plugins.loading import catalogue

    return {kind: [details(entry) for entry in catalogue().of(kind).values()] for kind in kinds}


def _overview(console: Console, kinds: Sequence[str]) -> None:
    from privbench.plugins.loading import BUILTIN, catalogue

    for kind in kinds:
        entries = catalogue().of(kind)
        console.print(f"{kind.capitalize()}s", style="bold cyan")
        if not entries:
            console.print("  none installed\n")
            continue
        foreign = any(entry.plugin != BUILTIN for entry in entries.values())
        needed = kind == "attack"
        columns = ["name", *(["sees"] if needed else []), *(["plugin"] if foreign else []), "description"]
        rows = out.table(console, *columns, wrap=["sees", "description"])
        for name, entry in entries.items():
            plugin = [f"{entry.plugin} {entry.version}"] if foreign else []
            rows.add_row(name, *([_threat(entry)] if needed else []), *plugin, out.summary(entry.cls))
        console.print(rows, "", sep="\n")
    console.print(f"Options of each: privbench list {kinds[0] if len(kinds) == 1 else 'KIND'} NAME", style="dim")


def _threat(entry: Registered) -> str:
    from privbench.contracts.threat import threat_model

    needs = needs_of(entry)
    return threat_model(needs) if needs else "depends on its options"


def _show(console: Console, entry: Registered) -> None:
    from rich.text import Text

    from privbench.contracts.recipe import Recipe
    from privbench.options.about import about
    from privbench.options.fields import option_infos

    cls = entry.cls
    console.print(f"{entry.kind} {entry.name}", style="bold cyan", end="")
    console.print(f"   from plugin {entry.plugin} {entry.version}", style="dim")
    console.print()
    console.print(out.paragraphs(console, inspect.cleandoc(cls.__doc__ or "No description.")))
    facts = {"sees": _threat(entry) if entry.kind == "attack" else "", "paper": about(cls).paper}
    lines = [Text.assemble((f"{label.capitalize()}: ", "bold"), text) for label, text in facts.items() if text]
    if lines:
        console.print("", *lines, sep="\n")
    infos = option_infos(cls)
    shared = {info.name for info in option_infos(Recipe)} if entry.kind == "task" else set()
    own = [info for info in infos if info.name not in shared]
    _options(console, "Options", own)
    _options(console, "Recipe (the same options for every task)", [info for info in infos if info.name in shared])
    _presets(console, entry)
    _usage(console, entry, own)


def _options(console: Console, title: str, infos: Sequence[OptionInfo]) -> None:
    if not infos:
        if title == "Options":
            console.print("\nNo options.")
        return
    console.print(f"\n{title}", style="bold cyan")
    rows = out.table(console, "option", "takes", "default", "description", wrap=["takes", "default", "description"])
    rows.columns[1].max_width = CHOICES if console.width < out.UNLIMITED else None
    for info in infos:
        takes = f"{info.type.replace('|', ' | ')} {info.range}".strip()
        rows.add_row(info.name, takes, _default(info), info.help)
    console.print(rows)


def _presets(console: Console, entry: Registered) -> None:
    from privbench.options.about import about

    presets = about(entry.cls).presets
    if presets:
        console.print("\nPresets", style="bold cyan")
        rows = out.table(console, "preset", "options", wrap=["options"])
        for name, values in presets.items():
            rows.add_row(name, ", ".join(f"{key}={_value(value)}" for key, value in values.items()) or "the defaults")
        console.print(rows)


def _usage(console: Console, entry: Registered, infos: Sequence[OptionInfo]) -> None:
    if entry.kind == "audit":
        return
    text = entry.name
    if infos:
        first = next((info for info in infos if _required(info)), infos[0])
        text += f":{first.name}={'...' if _required(first) else _value(first.default)}"
    console.print(f"\nExample: privbench run --{entry.kind} {text}", style="dim")


def _required(info: OptionInfo) -> bool:
    from pydantic_core import PydanticUndefined

    return info.default is PydanticUndefined


def _default(info: OptionInfo) -> str:
    return "required" if _required(info) else _value(info.default)


def _value(value: Any) -> str:
    """Return a value in the syntax of the command line."""
    from privbench.options.fields import is_component, spec

    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "/".join(map(_value, value))
    return spec(value) if is_component(value) else str(value)
