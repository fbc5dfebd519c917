"""`privbench doctor`: versions, devices, and problems of an installation."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from privbench import __version__
from privbench.cli import console as out
from privbench.devices import processor_name
from privbench.executors.cores import cores
from privbench.learn.cards import cards, why_none

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "safetensors",
    "pydantic",
    "click",
    "rich",
)
VERSIONS = {"driver": "driver", "CUDA": "cuda", "ROCm": "rocm", "cuDNN": "cudnn"}
"""Displayed versions of a card, with their keys in the report."""
BROKEN = 1


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Show versions, devices, the store, data and plugins, and problems. Exit code 1 if there are any."""
    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(out.stdout(), report)
    if report["problems"]:
        ctx.exit(BROKEN)


def examine() -> dict[str, Any]:
    """Return the command's output as JSON-compatible data; `problems` lists problems as sentences."""
    from privbench.plugins.loading import catalogue

    installed = catalogue()
    broken = [{"plugin": problem.plugin, "reason": problem.reason} for problem in installed.problems]
    problems = [f"plugin {problem.plugin!r}: {problem.reason}" for problem in installed.problems]
    versions = {name: _version(name) for name in PACKAGES}
    problems += [f"{name} is not installed" for name, version in versions.items() if version is None]
    devices = _devices(problems)
    return {
        "privbench": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": versions,
        "devices": devices,
        "store": _store(problems),
        "data": str(_data_root()),
        "plugins": installed.plugins,
        "broken": broken,
        "components": {kind: len(installed.of(kind)) for kind in out.KINDS},
        "problems": problems,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices(problems: list[str]) -> dict[str, Any]:
    """Return torch's devices. The processor's name, capability and threads determine the last bits."""
    devices: dict[str, Any] = {"cpu": cores(), "processor": processor_name(), "cuda": [], "no_cuda": "", "mps": False}
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything, which is reported
        problems.append(f"torch cannot be imported: {' '.join(str(error).split())}")
        return devices
    devices["capability"] = torch.backends.cpu.get_cpu_capability()
    devices["threads"] = torch.get_num_threads()
    devices["cuda"], devices["no_cuda"] = cards(), why_none()
    devices["mps"] = bool(torch.backends.mps.is_available())
    return devices


def _store(problems: list[str]) -> dict[str, Any]:
    """Return the location and size of the store."""
    from privbench.store.store import Store, default_root

    root = default_root()
    if not root.exists():
        return {"path": str(root), "artifacts": 0, "size": 0}
    if not root.is_dir() or not os.access(root, os.W_OK):
        problems.append(f"store {root}: not a writable folder; give another with --store")
        return {"path": str(root), "artifacts": 0, "size": 0}
    sizes = [artifact.size for artifact in Store(root).artifacts()]
    return {"path": str(root), "artifacts": len(sizes), "size": sum(sizes)}


def _data_root() -> Path:
    from privbench.data.imported import data_root

    return data_root()


def _show(console: Console, report: dict[str, Any]) -> None:
    _heading(console, "privbench", report["privbench"])
    _rows(console, {"python": f"{report['python']}  {report['executable']}", "platform": report["platform"]})
    _heading(console, "Packages")
    _rows(console, {name: version or "missing" for name, version in report["packages"].items()})
    _heading(console, "Devices")
    _rows(console, _device_rows(report["devices"]))
    _heading(console, "Places")
    store = report["store"]
    held = f"{out.count_text(store['artifacts'], 'artifact')}, {out.size_text(store['size'])}"
    _rows(console, {"store": f"{store['path']}  ({held})", "data": report["data"]})
    _heading(console, "Plugins", ", ".join(out.count_text(n, kind) for kind, n in report["components"].items()))
    _rows(console, report["plugins"] or {"none": ""})
    if report["problems"]:
        console.print("Broken", style="bold red")
        for problem in report["problems"]:
            console.print(f"  {problem}", soft_wrap=True)
    else:
        console.print("Nothing is broken.", style="green")


def _heading(console: Console, title: str, note: str = "") -> None:
    console.print(title, style="bold cyan", end="  " if note else "\n")
    if note:
        console.print(note, soft_wrap=True)


def _rows(console: Console, rows: dict[str, str]) -> None:
    wide = max(map(len, rows))
    for name, value in rows.items():
        console.print(f"  {name:<{wide}}  {value}", soft_wrap=True)
    console.print()


def _device_rows(devices: dict[str, Any]) -> dict[str, str]:
    cpu = [out.count_text(devices["cpu"], "core"), devices["processor"]]
    if "capability" in devices:
        cpu += [f"torch uses {devices['capability']}", out.count_text(devices["threads"], "thread")]
    no = f"no: {devices['no_cuda']}" if devices["no_cuda"] else "no"
    cuda = {f"cuda {index}": _card_text(card) for index, card in enumerate(devices["cuda"])} or {"cuda": no}
    return {"cpu": ", ".join(cpu), **cuda, "mps": "yes" if devices["mps"] else "no"}


def _card_text(card: dict[str, Any]) -> str:
    """Return one line for a card; CUDA graphs make training on it fast."""
    known = {name: card[key] for name, key in VERSIONS.items() if card.get(key)}
    about = [f"{card['name']} {card['capability']}", out.size_text(card["memory"])]
    graphs = f"CUDA graphs: no, {card['no_graph']}" if card["no_graph"] else "CUDA graphs: yes"
    about += [*(f"{name} {version}" for name, version in known.items()), graphs]
    return ", ".join(about + ([] if card["used"] else ["not used, because it is a different model than cuda 0"]))
