"""What `gpu_proof.py` proves with: commands with a time limit, and comparisons of stores and of records."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
EAGER = "each step is launched by itself"
"""What privbench says of steps that it cannot record."""
TAIL = 12
"""Lines of a failed command's errors that are kept."""
INTERVALS = ("auc", "balanced_accuracy")
ACCURACIES = ("train_accuracy", "nonmember_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int | None
    """None where its time ran out."""
    seconds: float
    output: str
    errors: str
    busy: float | None
    """Mean share of time in which a kernel ran, as nvidia-smi samples it; None without it."""

    @property
    def why(self) -> str:
        """Return why it failed, or nothing."""
        if self.code is None:
            return f"no end in {self.seconds:.0f} s"
        last = (self.errors.strip().splitlines() or [""])[-1]
        return "" if self.code == 0 else f"exit code {self.code}: {last}"[:300]

    @property
    def facts(self) -> dict[str, Any]:
        """Return what is worth keeping of it."""
        said = list(dict.fromkeys(line.strip() for line in self.errors.splitlines() if EAGER in line))
        found: dict[str, Any] = {"seconds": round(self.seconds, 2)}
        found |= {"busy_by_nvidia_smi": round(self.busy, 3)} if self.busy is not None else {}
        found |= {"launched_one_by_one": said} if said else {}
        return found | ({"errors": self.errors.strip().splitlines()[-TAIL:]} if self.why else {})


def command(*words: str, seconds: float, **variables: str) -> Done:
    """Run a command of this Python in the repository; end it, with all that it started, when its time is over."""
    environment, start = {**os.environ, "COLUMNS": "80", **variables}, time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors, _sampled() as samples:
        process = subprocess.Popen(
            [sys.executable, *words], stdout=output, stderr=errors, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code: int | None = process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            code = None
            _end(process)
        except BaseException:
            _end(process)
            raise
        took = time.perf_counter() - start
        output.seek(0)
        errors.seek(0)
        said, told = output.read(), errors.read()
    return Done(code, took, said, told, statistics.mean(samples) / 100 if samples else None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a command say what it has found so far, and end what it started."""
    for sign, patience in ((signal.SIGINT, 8), (signal.SIGKILL, 8)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


@contextlib.contextmanager
def _sampled() -> Iterator[list[float]]:
    """Lend a list that at the end of the block has the utilisation of the first card, in percent, twice a second."""
    tool, samples = shutil.which("nvidia-smi"), []
    if tool is None:
        yield samples
        return
    index = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0] or "0"
    words = [tool, "-i", index, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "500"]
    with tempfile.TemporaryFile("w+") as output:
        sampler = subprocess.Popen(words, stdout=output, stderr=subprocess.DEVNULL)
        try:
            yield samples
        finally:
            sampler.terminate()
            sampler.wait()
            output.seek(0)
            samples += [float(line) for line in output.read().split() if line.replace(".", "", 1).isdigit()]


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the records in a folder by what was run: task, defense, attack and how much of it."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        specs = [record[kind]["spec"] for kind in ("task", "defense", "attack")]
        found[" / ".join(map(str, [*specs, *(record[name] for name in ("models", "targets", "seed"))]))] = record
    return found


def unequal(one: Path, other: Path) -> tuple[int, list[str]]:
    """Compare the runs in two folders bit by bit: return how many scores and weights there are, and which differ."""
    pairs = []
    for run in (one, other):
        found = {name: record["scores_sha256"] for name, record in records(run / "out").items()}
        for path in sorted((run / "store" / "model").rglob("*.safetensors")):
            found[path.relative_to(run / "store").as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        pairs.append(found)
    names = sorted(pairs[0].keys() | pairs[1].keys())
    return len(names), [name for name in names if pairs[0].get(name) != pairs[1].get(name)]


def apart(ours: Path, theirs: Path) -> tuple[int, list[str]]:
    """Compare the metrics of records of the same cells: return how many there are, and whose intervals are disjoint."""
    known, total, found = records(theirs), 0, []
    for cell, record in records(ours).items():
        other = known.get(cell)
        if other is None or record["status"] != "ok" or other["status"] != "ok":
            continue
        one, two = _estimates(record), _estimates(other)
        for name in one.keys() & two.keys():
            (low, high), (least, most) = one[name], two[name]
            total += 1
            if high < least or most < low:
                found.append(f"{cell}: {name} [{low:.4g}, {high:.4g}], there [{least:.4g}, {most:.4g}]")
    return total, sorted(found)


def _estimates(record: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the intervals of a record's metrics and accuracies, those that are known."""
    metrics, utility = record["metrics"] or {}, record["utility"] or {}
    found = {name: metrics.get(name) for name in INTERVALS} | {name: utility.get(name) for name in ACCURACIES}
    found |= {f"tpr@{point['fpr']:.1%}": point["tpr"] for point in metrics.get("tpr_at_fpr") or ()}
    return {
        name: (each["low"], each["high"])
        for name, each in found.items()
        if each and each["low"] is not None and each["high"] is not None
    }
