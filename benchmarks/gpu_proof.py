"""All that can be proven of privbench on a card in eight minutes, without a network: one page of facts and one JSON.

    bash benchmarks/gpu_proof.sh [--out FOLDER] [--data cifar100.npz] [--device cuda] [--minutes 8]

For whoever has a card for a quarter of an hour. It installs nothing: privbench must be there and, for the tests, what
its extra `test` names. Each part has a time limit, and what fails is named while the others go on:

- the README's command, cold and again, and the default grid, cold, against their bars;
- the grid's metrics against those in leaderboards/digits, which were computed on a CPU: 95 % intervals overlap;
- the same run twice, with one worker and with two: equal bits of all raw scores and weights;
- 16 MobileNetV3-S on the images that --data, or $PRIVBENCH_PROOF_DATA, names (`npz` says what is in such a file);
- the tests that need a card;
- gpu.py: examples/s against bare loops and graphs captured by hand, the share of time in which the card is busy.

proof.txt and proof.json go to --out, or to $OUT, and are written anew after each part. The exit code is 1 where
something failed or a bar was missed. `--device cpu` goes through all of it in small sizes, for which there are no bars.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from proof_tools import ROOT, apart, command, records, unequal

Facts: TypeAlias = dict[str, Any]
Part: TypeAlias = Callable[["Proof", float], Facts]

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
PATIENCE = 4
"""How much longer all may take on a CPU."""
WIDE = 80


class Proof:
    """What is to be proven, where, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.quick = options, options.quick or options.device == "cpu"
        self.patience = PATIENCE if options.device == "cpu" else 1
        self.end = time.monotonic() + 60 * options.minutes * self.patience
        self.report: Facts = {
            "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "commit": _commit(),
            "device": options.device,
            "quick": self.quick,
            "parts": {},
        }

    def run(self, folder: Path, *words: str, seconds: float) -> Any:
        """Run `privbench run` with a store and records in a folder, without the plugins that may be there."""
        places = ["--store", str(folder / "store"), "--out", str(folder / "out"), "--device", self.options.device]
        return command("-m", "privbench", "run", *words, *places, seconds=seconds, PRIVBENCH_PLUGINS="")

    def part(self, name: str, limit: float, prove: Part) -> None:
        """Prove one thing in a time limit, and write down what was found of all."""
        left = self.end - time.monotonic()
        if left <= 1:
            facts: Facts = {"failed": f"no time left of {self.options.minutes:g} minutes"}
        else:
            start = time.perf_counter()
            try:
                facts = prove(self, min(self.patience * limit, left))
            except Exception as error:  # noqa: BLE001 - a fault of one part must not cost the others
                facts = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
            facts["part_seconds"] = round(time.perf_counter() - start, 1)
        self.report["parts"][name] = facts
        self.save()

    def save(self) -> None:
        """Write the page and the JSON."""
        out = self.options.out
        out.mkdir(parents=True, exist_ok=True)
        (out / "proof.json").write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")
        (out / "proof.txt").write_text("\n".join(page(self.report)) + "\n", encoding="utf-8")

    @property
    def fine(self) -> bool:
        """Whether nothing failed and no bar was missed."""
        return not any("failed" in facts or facts.get("missed") for facts in self.report["parts"].values())


def main() -> int:
    options = parsed()
    proof = Proof(options)
    with tempfile.TemporaryDirectory(prefix="privbench-proof-") as name:
        folder = Path(name)
        proof.part("machine", 60, machine)
        proof.part("README's command", 75, lambda proof, seconds: readme(proof, seconds, folder / "readme"))
        proof.part("default grid", 120, lambda proof, seconds: grid(proof, seconds, folder / "grid"))
        proof.part("metrics as on a CPU", 10, lambda proof, _: metrics(proof, folder / "grid"))
        proof.part("the same bits twice", 80, lambda proof, seconds: twice(proof, seconds, folder))
        proof.part("CIFAR-100", 80, lambda proof, seconds: cifar(proof, seconds, folder / "cifar"))
        proof.part("tests with a card", 90, tests)
        proof.part("gpu.py", 175, figures)
    print((options.out / "proof.txt").read_text(encoding="utf-8"))
    return 0 if proof.fine else 1


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out, data = os.environ.get("OUT"), os.environ.get("PRIVBENCH_PROOF_DATA")
    parser.add_argument("--out", type=Path, default=Path(out or "gpu-proof"), metavar="FOLDER")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, metavar="FILE")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--minutes", type=float, default=7.8, help="for all of it, on a card; what is left is named")
    parser.add_argument("--quick", action="store_true", help="small sizes, which on a CPU are taken anyhow")
    return parser.parse_args()


def machine(proof: Proof, seconds: float) -> Facts:
    done = command("-m", "privbench", "doctor", "--json", seconds=seconds)
    report = json.loads(done.output)
    found = {name: report[name] for name in ("privbench", "python", "platform", "packages", "devices", "problems")}
    if proof.options.device == "cuda" and not report["devices"]["cuda"]:
        found["failed"] = f"torch finds no card: {report['devices']['no_cuda'] or 'there is none'}"
    return found


def readme(proof: Proof, seconds: float, folder: Path) -> Facts:
    words = ["--defense", "transform", "--attack", "lira", *(["--models", "4"] if proof.quick else [])]
    end = time.monotonic() + seconds
    cold = proof.run(folder, *words, seconds=seconds)
    if cold.why:
        return {**cold.facts, "failed": cold.why}
    cached = proof.run(folder, *words, seconds=end - time.monotonic())
    facts = {**cold.facts, "cached": {**cached.facts, **({"failed": cached.why} if cached.why else {})}}
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
    facts = {"metrics": total, "apart": disjoint}
    return (
        facts if total and not disjoint else {**facts, "failed": f"{len(disjoint)} of {total} intervals are disjoint"}
    )


def twice(proof: Proof, seconds: float, folder: Path) -> Facts:
    made = "fake-data:gan_steps=20" if proof.quick else "transform"
    words = ["--models", "4", "--defense", "ce", "--defense", made, "--attack", "confidence", "--attack", "lira"]
    end = time.monotonic() + seconds
    facts: Facts = {"models": 8, "runs": []}
    for jobs in ("1", "2"):
        done = proof.run(folder / jobs, *words, "--jobs", jobs, seconds=end - time.monotonic())
        facts["runs"].append({"jobs": int(jobs), **done.facts})
        if done.why:
            return {**facts, "failed": f"--jobs {jobs}: {done.why}"}
    total, differing = unequal(folder / "1", folder / "2")
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


def tests(proof: Proof, seconds: float) -> Facts:
    if importlib.util.find_spec("pytest") is None:
        return {"skipped": "pytest is not installed"}
    where = ["tests/test_cards.py", "tests/test_testing.py"] if proof.quick else ["tests", *_plugin_tests()]
    done = command("-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *where, seconds=seconds - 10)
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
    failed = [f"{case['case']}: {case['failed']}" for case in report["cases"] if "failed" in case]
    facts = {**done.facts, "table": done.output.rstrip().splitlines(), **report}
    return {**facts, "failed": "; ".join(failed)} if failed else facts


def _plugin_tests() -> list[str]:
    """Return where the tests of the plugins that are installed lie."""
    folders = sorted(ROOT.glob("plugins/privbench-*"))
    there = [each for each in folders if importlib.util.find_spec(each.name.replace("-", "_"))]
    return [str((each / "tests").relative_to(ROOT)) for each in there]


def _commit() -> str:
    try:
        words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def page(report: Facts) -> list[str]:
    from proof_page import lines

    return lines(report, WIDE)


if __name__ == "__main__":
    sys.exit(main())
