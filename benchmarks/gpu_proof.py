"""All that can be proven of privbench on a card in eight minutes, without a network: one page of facts and one JSON.

    bash benchmarks/gpu_proof.sh [--out FOLDER] [--data cifar100.npz] [--device cuda] [--minutes 8]

For whoever has a card for a quarter of an hour. It installs nothing: privbench must be there and, for the tests, what
its extra `test` names. Each part has a time limit, and what fails is named while the others go on:

- the README's command, cold and again, and the default grid, cold, against their bars;
- the grid's metrics against those in leaderboards/digits, which were computed on a CPU: 95 % intervals overlap;
- the same run twice, with one lane and with eight: models per hour, and equal bits of all raw scores and weights;
- 16 MobileNetV3-S on the images that --data, or $PRIVBENCH_PROOF_DATA, names (`npz` says what is in such a file);
- the tests that need a card;
- gpu.py: examples/s against bare loops and graphs captured by hand, the share of time in which the card is busy.

proof.txt and proof.json go to --out, or to $OUT, and are written anew after each part. The exit code is 1 where
something failed or a bar was missed. `--device cpu` goes through all of it in small sizes, for which there are no bars.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import proof_parts as parts
from proof_page import lines
from proof_tools import ROOT, command

Facts: TypeAlias = dict[str, Any]
Part: TypeAlias = Callable[["Proof", float], Facts]

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
        (out / "proof.txt").write_text("\n".join(lines(self.report, WIDE)) + "\n", encoding="utf-8")

    @property
    def fine(self) -> bool:
        """Whether nothing failed and no bar was missed."""
        return not any("failed" in facts or facts.get("missed") for facts in self.report["parts"].values())


def main() -> int:
    options = parsed()
    proof = Proof(options)
    with tempfile.TemporaryDirectory(prefix="privbench-proof-") as name:
        folder = Path(name)
        proof.part("machine", 60, parts.machine)
        if no_card := proof.report["parts"]["machine"].get("no_card"):
            print(f"Error: {no_card}; --device cpu goes through all of it.", file=sys.stderr)
            return 2
        proof.part("README's command", 75, lambda proof, seconds: parts.readme(proof, seconds, folder / "readme"))
        proof.part("default grid", 120, lambda proof, seconds: parts.grid(proof, seconds, folder / "grid"))
        proof.part("metrics as on a CPU", 10, lambda proof, _: parts.metrics(proof, folder / "grid"))
        proof.part("the same bits twice", 80, lambda proof, seconds: parts.twice(proof, seconds, folder))
        proof.part("CIFAR-100", 80, lambda proof, seconds: parts.cifar(proof, seconds, folder / "cifar"))
        proof.part("tests with a card", 90, parts.tests)
        proof.part("gpu.py", 175, parts.figures)
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


def _commit() -> str:
    try:
        words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
