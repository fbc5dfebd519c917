"""Usage errors found by click, as one line with the correction."""

from __future__ import annotations

import re
from pathlib import Path

import click

from privbench.escapes import one_line

ELSEWHERE = {
    "show": "leaderboard show",
    "export": "leaderboard export",
    "prune": "cache prune",
    "verify": "cache verify",
    "fetch": "data fetch",
    "import": "data import",
    "predictions": "audit predictions",
    "dataset": "audit dataset",
    "task": "run --task",
    "defense": "run --defense",
    "attack": "run --attack",
}
"""Words mistaken for a command, with the correct command."""
KINDS = {"task": "digits", "defense": "ce", "attack": "lira"}
"""Kinds of components, with the preferred example of each."""


def told(error: click.UsageError) -> str:
    """Return a usage error as one line: what is wrong, what would be right, and where to find help."""
    text = one_line(error.format_message()).rstrip(".") + "."
    command = error.ctx.command_path if error.ctx else "privbench"
    hint = _hint(error, text, command)
    if hint and isinstance(error, click.NoSuchOption):  # better than click's own suggestion
        text = f"No such option {error.option_name!r}."
    return f"Error: {text}{hint} Help: {command} --help"


def elsewhere(name: str) -> str:
    """Return a hint for a word that is a subcommand, or an option, of another command; or an empty text."""
    return f" Did you mean 'privbench {ELSEWHERE[name]}'?" if name in ELSEWHERE else ""


def _hint(error: click.UsageError, text: str, command: str) -> str:
    if isinstance(error, click.NoSuchOption):
        return _option_of(error.option_name.lstrip("-").replace("-", "_"), command)
    if match := re.search(r"unexpected extra arguments? \((.*)\)", text):
        return _repeated(match[1].split())
    if (match := re.search(r"No such command '(.*?)'", text)) and Path(match[1]).exists():
        return f" Did you mean '{command} show {match[1]}'?"
    return ""


def _repeated(words: list[str]) -> str:
    """Return a hint for names of components without their option."""
    from privbench.plugins.loading import catalogue

    installed = catalogue()
    kinds = [next((kind for kind in KINDS if word.partition(":")[0] in installed.of(kind)), None) for word in words]
    if None in kinds:
        return ""
    named = " ".join(f"--{kind} {word}" for kind, word in zip(kinds, words, strict=True))
    return f" Write {named}: an option takes one name; repeat it for more."


def _option_of(name: str, command: str) -> str:
    """Return a hint for a component's option that was given as an option of the command, or an empty text."""
    from privbench.options.fields import option_infos
    from privbench.plugins.loading import catalogue

    def takes(cls: type) -> bool:
        return any(info.name == name for info in option_infos(cls))

    installed, words = catalogue(), command.split()
    audit = installed.of("audit").get(words[-1].partition(":")[0]) if words[1:2] == ["audit"] else None
    if audit and takes(audit.cls):
        return f" Write it as an option of the audit: privbench audit {audit.name}:{name}=VALUE."
    for kind, first in KINDS.items() if {"run", "audit"} & set(words[1:2]) else ():
        names = [entry.name for entry in installed.of(kind).values() if takes(entry.cls)]
        if names:
            one = first if first in names else names[0]
            others = f"; also an option of {', '.join(names[1:])}" if len(names) > 1 and one != first else ""
            return f" Write it as an option of the {kind}: --{kind} {one}:{name}=VALUE{others}."
    return ""
