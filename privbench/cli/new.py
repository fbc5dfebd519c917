"""`privbench new`: a plugin as a starting point, a complete distribution that installs, passes its checks and runs."""

from __future__ import annotations

import keyword
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privbench import __version__
from privbench.cli import console as out
from privbench.errors import UnknownName, UsageError, did_you_mean
from privbench.store.reading import home

if TYPE_CHECKING:
    from collections.abc import Mapping

EPILOG = """\b
Examples:
  privbench new attack my-attack
  privbench new defense my-defense --into ~/src
"""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
RUN = {
    "attack": "privbench run --attack {name} --attack lira",
    "defense": "privbench run --defense ce --defense {name}",
    "task": "privbench run --task {name}",
    "audit": "privbench audit {name}",
}
FILES = {
    "pyproject.toml": "pyproject.toml",
    "{module}.py": "{kind}.py",
    "tests/test_{stem}.py": "{kind}_test.py",
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    "tox.ini": "tox.ini",
    ".github/workflows/ci.yml": "ci.yml",
    ".gitignore": "gitignore",
}
"""File -> its template in `privbench/cli/templates`; both may contain the placeholders of `words`."""


def _complete_kind(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    return [kind for kind in out.KINDS if kind.startswith(incomplete)]


@click.command(epilog=EPILOG)
@click.argument("kind", shell_complete=_complete_kind)
@click.argument("name")
@click.option(
    "--into",
    default=".",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder in which the distribution's folder is created.",
)
def new(kind: str, name: str, into: Path) -> None:
    """Write a new plugin: a small distribution, privbench-NAME, with one attack, defense, task or audit.

    KIND is attack, defense, task or audit. NAME is its name on the command line: lower-case letters, digits and dashes.
    The plugin works as generated; replace its method with your own.
    """
    if kind not in out.KINDS:
        raise UnknownName(f"No kind {kind!r}.{did_you_mean(kind, out.KINDS)} Kinds: {', '.join(out.KINDS)}.")
    check_name(name)
    folder = write(kind, name, into)
    filled = words(kind, name)
    out.say(f"Wrote {folder}; the {kind} is in {filled['module']}.py. Next:", err=True)
    for command in (f"pip install -e {_quoted(folder)}", f"privbench check {kind}:{name}", filled["run"]):
        out.say(f"  {command}")


def check_name(name: str) -> None:
    """Raise UsageError if a component cannot, or should not, have this name."""
    from privbench.plugins.loading import catalogue
    from privbench.plugins.naming import dashed, name_fault

    if not NAME.fullmatch(name):
        fixed = dashed(name).strip("-0123456789")
        hint = f" Try {fixed!r}." if NAME.fullmatch(fixed) else ""
        raise UsageError(
            f"{name!r} is not a valid name: use lower-case letters, digits, single dashes, a letter first.{hint}"
        )
    if name.startswith("privbench-"):
        raise UsageError(f"The distribution will be named privbench-NAME; omit the prefix: {name[10:]!r}.")
    stem = name.replace("-", "_")
    if wrong := name_fault(name):
        raise UsageError(f"{name!r} is not a valid name: {wrong}.")
    if keyword.iskeyword(stem) or keyword.iskeyword(stem.capitalize()):
        raise UsageError(f"{name!r} is a keyword of Python; choose another name, such as 'my-{name}'.")
    if stem in sys.stdlib_module_names:
        raise UsageError(
            f"{name!r} is a module of Python's standard library; choose another name, such as 'my-{name}'."
        )
    found = catalogue()
    for (kind, known), entry in found.components.items():
        if known == name:
            raise UsageError(
                f"There is {'an' if kind[0] == 'a' else 'a'} {kind} named {name!r} already, from plugin "
                f"{entry.plugin!r}; choose another name."
            )
    if name in {*found.plugins, *(problem.plugin for problem in found.problems)}:
        raise UsageError(f"There is a plugin named {name!r} already; choose another name.")


def words(kind: str, name: str) -> dict[str, str]:
    """Return the placeholders of the templates."""
    parts = name.split("-")
    cls = "".join(part.capitalize() for part in parts)
    stem = "_".join(parts)
    return {
        "kind": kind,
        "name": name,
        "stem": stem,
        "module": f"privbench_{stem}",
        "distribution": f"privbench-{name}",
        "cls": cls if parts[-1] == kind else cls + kind.capitalize(),  # distinct from all imports
        "version": __version__,
        "run": RUN[kind].format(name=name),
    }


def files(kind: str, name: str) -> Mapping[str, str]:
    """Return path -> content for the files of the distribution."""
    from importlib import resources
    from string import Template

    filled, folder = words(kind, name), resources.files("privbench.cli") / "templates"
    made = {}
    for path, template in FILES.items():
        text = (folder / f"{template.format(**filled)}.tmpl").read_text(encoding="utf-8")
        made[path.format(**filled)] = Template(text).substitute(filled)
    return made


def write(kind: str, name: str, into: Path) -> Path:
    """Write the distribution into a new folder, completely or not at all; return the folder. Raises UsageError."""
    content = files(kind, name)
    folder = home(into) / f"privbench-{name}"
    try:
        if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
            raise UsageError(f"{folder} exists and is not empty; remove it, or choose another name or --into.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".privbench-new-") as scratch:
            whole = Path(scratch) / folder.name
            for path, text in content.items():
                file = whole / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            if folder.exists():
                folder.rmdir()
            whole.rename(folder)
    except OSError as error:
        raise UsageError(f"Cannot write {folder}: {error.strerror or error}.") from None
    return folder


def _quoted(folder: Path) -> str:
    """Return a folder for `pip install`, which takes a bare name for a package of the index."""
    import shlex

    text = str(folder)
    return shlex.quote(text if folder.is_absolute() or text.startswith("..") else f"./{text}")
