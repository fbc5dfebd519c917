"""The parts of `gpu_proof.py`: each runs commands in a time limit, and returns what it found.

Facts with `failed` are a failure, with `skipped` nothing, with `missed` the bars that were missed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from proof_tools import ROOT, apart, command, records, unequal

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_proof import Proof

Facts: TypeAlias = dict[str, Any]

DEFENSES = ("ce", "relaxloss", "selena", "fake-data", "transform", "dp-critic")
ATTACKS = (
    "correctness",
    "confidence",
    "entropy",
    "m-entropy",
    "lira",
    "gan-leaks",
    "nearest-neighbour",
    "real-vs-fake",
)
RECONSTRUCTION = "inversion"
README_BAR, GRID_BAR, CACHED_BAR = 20.0, 60.0, 0.04
"""Seconds; of the cold time."""
CIFAR = "model=mobilenet_v3_small,epochs=40,batch_size=256,lr=0.05,crop=4,flip=0.5"
MARKED = re.compile(r"mark\.gpu|def test_\w+\([^)]*\bdevice\b")
"""What a file of tests has that need a card: the marker, or what takes the fixture that has it."""
LANES = 8
"""Models that a card trains at once by default."""
WORKERS = 4
"""Processes that run them side by side."""


def machine(proof: Proof, seconds: float) -> Facts:
    done = command("-m", "privbench", "doctor", "--json", seconds=seconds)
    if not done.output.startswith("{"):
        return {**done.facts, "failed": done.why or "doctor has said nothing"}
    report = json.loads(done.output)
    found = {name: report[name] for name in ("privbench", "python", "platform", "packages", "devices", "problems")}
    if proof.options.device == "cuda" and not report["devices"]["cuda"]:
        found["no_card"] = f"torch finds no card: {report['devices']['no_cuda'] or 'there is none'}"
    return found


def readme(proof: Proof, seconds: float, folder: Path) -> Facts:
    models = 4 if proof.quick else 16
    words = ["--defense", "transform", "--attack", "lira", "--models", str(models)]
    end = time.monotonic() + seconds
    cold = proof.run(folder, *words, seconds=seconds)
    if cold.why:
        return {**cold.facts, "failed": cold.why}
    cached = proof.run(folder, *words, seconds=end - time.monotonic())
    facts = {
        **cold.facts,
        "models": models,
        "cached": {**cached.facts, **({"failed": cached.why} if cached.why else {})},
    }
    missed = [] if cold.seconds <= README_BAR else [f"{cold.seconds:.1f} s cold; the bar is {README_BAR:.0f} s"]
    if cached.seconds > CACHED_BAR * cold.seconds:
        missed.append(f"{cached.seconds:.1f} s cached, {cached.seconds / cold.seconds:.0%} of cold; the bar is 4 %")
    return facts | ({} if proof.quick else {"bar": README_BAR, "missed": missed})


def grid(proof: Proof, seconds: float, folder: Path) -> Facts:
    defenses, attacks = (DEFENSES[:2], ATTACKS[:5]) if proof.quick else (DEFENSES, (*ATTACKS, RECONSTRUCTION))
    words = [word for name in defenses for word in ("--defense", name)]
    words += [word for name in attacks for word in ("--attack", name)]
    done = proof.run(folder, *words, seconds=seconds)
    facts = {**done.facts, "defenses": len(defenses), "attacks": len(attacks), "models": 16}
    if done.why:
        return {**facts, "failed": done.why}
    missed = [] if done.seconds <= GRID_BAR else [f"{done.seconds:.1f} s; the bar is {GRID_BAR:.0f} s"]
    return facts | ({} if proof.quick else {"bar": GRID_BAR, "missed": missed})


def metrics(_proof: Proof, folder: Path) -> Facts:
    total, disjoint = apart(folder / "out", ROOT / "leaderboards" / "digits")
    facts: Facts = {"metrics": total, "apart": disjoint}
    if not total:
        return {**facts, "failed": "there are no records to compare"}
    return {**facts, "failed": f"{len(disjoint)} of {total} intervals are disjoint"} if disjoint else facts


def twice(proof: Proof, seconds: float, folder: Path) -> Facts:
    made = "fake-data:gan_steps=20" if proof.quick else "transform"
    words = ["--models", "4", "--defense", "ce", "--defense", made, "--attack", "confidence", "--attack", "lira"]
    end = time.monotonic() + seconds
    facts: Facts = {"models": 8, "runs": []}
    several = "2" if proof.quick else str(LANES)
    for jobs in ("1", several):
        done = proof.run(folder / jobs, *words, "--jobs", jobs, seconds=end - time.monotonic())
        facts["runs"].append({"jobs": int(jobs), **done.facts, "models_per_hour": round(3600 * 8 / done.seconds)})
        if done.why:
            return {**facts, "failed": f"--jobs {jobs}: {done.why}"}
    total, differing = unequal(folder / "1", folder / several)
    facts |= {"files": total, "unequal": differing}
    return facts if total and not differing else {**facts, "failed": f"{len(differing)} of {total} differ"}


def cifar(proof: Proof, seconds: float, folder: Path) -> Facts:
    path = proof.options.data
    if path is None:
        return {"skipped": "no --data FILE"}
    models, sizes = (4, "model=mobilenet_v3_small,epochs=1,limit=300") if proof.quick else (16, CIFAR)
    attacks = [word for name in ATTACKS[:5] for word in ("--attack", name)]
    words = ["--task", f"npz:path={path.resolve()},{sizes}", "--models", str(models), *attacks]
    done = proof.run(folder, *words, seconds=seconds)
    facts = {**done.facts, "models": models, "models_per_hour": round(3600 * models / done.seconds)}
    if done.why:
        return {**facts, "failed": done.why}
    for record in records(folder / "out").values():
        if record["attack"]["spec"] == "lira" and record["status"] == "ok":
            facts |= {"lira_auc": record["metrics"]["auc"], "test_accuracy": record["utility"]["test_accuracy"]}
    return facts


def tests(_proof: Proof, seconds: float) -> Facts:
    if importlib.util.find_spec("pytest") is None:
        return {"skipped": "pytest is not installed"}
    folders = [ROOT / "tests", *_plugin_tests()]
    marked = (
        path for each in folders for path in sorted(each.rglob("test_*.py")) if MARKED.search(path.read_text("utf-8"))
    )
    where = [str(path.relative_to(ROOT)) for path in marked]  # to read all tests takes longer than these
    words = ["-m", "gpu", "-q", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist") is not None:  # Python takes most of the time of small nets, not the card
        words += ["-n", str(min(WORKERS, os.cpu_count() or 1))]
    done = command("-m", "pytest", *words, *where, seconds=seconds - 10)
    last = (done.output.strip().splitlines() or ["nothing was said"])[-1].strip("= !")
    failures = [line for line in done.output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    facts = {**done.facts, "found": last, "failures": failures}
    return {**facts, "failed": f"{done.why}; {last}"} if done.why else facts


def figures(proof: Proof, seconds: float) -> Facts:
    path = proof.options.out.resolve() / "gpu.json"
    words = ["--device", proof.options.device, "--json", str(path), "--limit", str(seconds - 5)]
    words += ["--quick"] if proof.quick else []
    done = command(str(ROOT / "benchmarks" / "gpu.py"), *words, seconds=seconds)
    if not path.exists():
        return {**done.facts, "failed": done.why or "it wrote nothing"}
    report = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    failed = [case["case"] for case in report["cases"] if "failed" in case]
    facts = {**done.facts, "table": done.output.rstrip().splitlines(), **report}
    return {**facts, "failed": f"{len(failed)} of its cases, as said below"} if failed else facts


def _plugin_tests() -> list[Path]:
    """Return where the tests of the plugins that are installed lie."""
    folders = sorted(ROOT.glob("plugins/privbench-*"))
    there = [each for each in folders if importlib.util.find_spec(each.name.replace("-", "_"))]
    return [each / "tests" for each in there]
