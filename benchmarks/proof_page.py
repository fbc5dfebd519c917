"""The page that `gpu_proof.py` writes: what was run, how long it took, what came of it."""

from __future__ import annotations

import textwrap
from typing import Any

SIZES = "small sizes, to show that all of it runs: no bar is looked at"


def lines(report: dict[str, Any], wide: int) -> list[str]:
    """Return the page, wrapped at so many columns; tables are as they are."""
    parts = report["parts"]
    head = f"privbench {report['commit']}, {report['date']}, device {report['device']}"
    text = [head, *([SIZES] if report["quick"] else []), *_machine(parts.get("machine", {})), "", "=" * wide]
    for name, facts in parts.items():
        if name != "machine" or "failed" in facts:
            text.append(f"{verdict(facts):7} {title(name, report['device'])}: {_said(name, facts)}")
            text += [f"        missed: {line}" for line in facts.get("missed", ()) if "table" not in facts]
            text += [f"        {line}" for line in _details(facts)]
    text += ["", *parts.get("gpu.py", {}).get("table", ())]
    return [row for line in text for row in _wrapped(line, wide)]


def title(name: str, device: str) -> str:
    """Return a part's name, which says so where its figures are a CPU's."""
    return f"{name} (a CPU's figures)" if device == "cpu" and name in ("README's command", "default grid") else name


def verdict(facts: dict[str, Any]) -> str:
    """Return how a part ended, in a word."""
    if "failed" in facts:
        return "FAILED"
    if "skipped" in facts:
        return "skipped"
    return "MISSED" if facts.get("missed") else "ok"


def _said(name: str, facts: dict[str, Any]) -> str:  # noqa: PLR0911 - a sentence for each part
    if told := facts.get("failed") or facts.get("skipped"):
        return str(told)
    busy = f", busy {facts['busy_by_nvidia_smi']:.0%} by nvidia-smi" if "busy_by_nvidia_smi" in facts else ""
    bar = f" (bar {facts['bar']:.0f} s)" if "bar" in facts else ""
    took = f"{facts['seconds']:.1f} s{bar}{busy}" if "seconds" in facts else ""
    if name == "README's command":
        again = facts["cached"].get("failed") or f"{facts['cached']['seconds']} s"
        return f"{facts['models']} models, cold {took}; again {again}"
    if name == "default grid":
        return f"{facts['defenses']} defenses x {facts['attacks']} attacks, {facts['models']} models each, cold {took}"
    if name == "metrics as on a CPU":
        return f"all {facts['metrics']} intervals overlap those of leaderboards/digits"
    if name == "the same bits twice":
        times = [f"--jobs {run['jobs']} {run['models_per_hour']:,} models an hour" for run in facts["runs"]]
        return f"all {facts['files']} files of scores and weights are equal; {', '.join(times)}"
    if name == "CIFAR-100":
        auc, accuracy = facts["lira_auc"], facts["test_accuracy"]
        found = f"AUC of lira {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"
        found += f", test accuracy {accuracy['value']:.1%}"
        return f"{facts['models']} MobileNetV3-S, {took}, {facts['models_per_hour']:,} models an hour; {found}"
    if name == "tests with a card":
        return f"{facts['found']}"
    return took


def _details(facts: dict[str, Any]) -> list[str]:
    """Return what stands below a part: what differs, what failed, what was launched one by one."""
    found = [*facts.get("apart", ()), *facts.get("unequal", ()), *facts.get("failures", ())]
    found += facts.get("launched_one_by_one", ())
    return [*found[:10], *([f"and {len(found) - 10} more, in the JSON"] if len(found) > 10 else [])]


def _machine(facts: dict[str, Any]) -> list[str]:
    if "devices" not in facts:
        return []
    devices, packages = facts["devices"], facts["packages"]
    rows = [f"python {facts['python']}, torch {packages['torch']}, {facts['platform']}"]
    rows.append(f"processor: {devices['cpu']} cores, {devices['processor']}")
    for index, card in enumerate(devices["cuda"]):
        graphs = f"no CUDA graphs: {card['no_graph']}" if card["no_graph"] else "captures CUDA graphs"
        versions = [f"{name} {card[name]}" for name in ("driver", "cuda", "rocm", "cudnn") if card.get(name)]
        known = [f"{card['name']} {card['capability']}", f"{card['memory'] / 1e9:.0f} GB", *versions, graphs]
        rows.append(f"card {index}: {', '.join(known)}")
    return rows + [f"problem: {problem}" for problem in facts["problems"]]


def _wrapped(line: str, wide: int) -> list[str]:
    if len(line) <= wide:
        return [line]
    return textwrap.wrap(line, wide, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False)
