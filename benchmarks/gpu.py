"""How much of a card privbench's training loops use: under three minutes, on one card, without a network.

    python benchmarks/gpu.py [CASE ...] [--json FILE] [--device cuda]

For the built-in nets and the three GANs: examples/s of privbench's own training, of a bare eager loop, and of a CUDA
graph of the same step, captured by hand (`gpu_cases.py`); each in turns, in one process, at the sizes of one card.
"start" are the seconds that a training takes beside its epochs, which capturing its graphs is part of; models per hour
are of 20 epochs of 6,400 examples, or of a GAN's default number of steps, that start included, for one model at a time
and for so many at once as the command line trains ("lanes"). "busy" is the share of a
run, training to records, in which the card worked at recorded steps (`busy.py`): models of random images, made and
attacked in this process, one after another and in lanes, as a worker makes them.

It exits with 1 where a bar is missed, which the last lines name. What fails is named, and the others go on, in a
process of their own. `--device cpu` does the same in tiny sizes and without the graph, to show that all of it runs: its
figures mean nothing. `--quick` takes these sizes on a card.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BARS = {"mlp": 50.0, "cnn": 12.0, "mobilenet_v3_small": 10.0, "resnet18": 4.0}
"""Least ratio of privbench's examples/s to the bare eager loop's."""
BUSY_BAR = 0.8
RUNS = ("run-mlp", "run-mobilenet_v3_small")
NAMES = ("mlp", "cnn", "mobilenet_v3_small", "resnet18", *RUNS, "hivit_tiny", "tac-gan", "cycle-gan", "wgan-gp")
NO_CARD = "torch finds no card here; --device cpu shows that all of it runs."
NO_GRAPH = 3
"""Exit code of a process in which a graph could not be captured, so that it takes no further case."""
LIMIT = 175.0
"""Seconds for all of it: what is not done by then is named."""
COLUMNS = (
    f"{'':18} {'privbench':>9} {'bare':>9} {'graph':>10} {'x bare':>7} {'x graph':>7} {'start':>5} {'models/h':>8}"
)


def main() -> int:
    options = parsed()
    if options.worker:
        return work(options)
    found, left, end = [], list(options.cases or NAMES), time.monotonic() + options.limit
    while left:
        seconds = end - time.monotonic()
        results, why = worked(options, left, seconds) if seconds > 0 else ([], f"no time left of {options.limit:.0f} s")
        if why == NO_CARD:
            print(f"Error: {why}", file=sys.stderr)
            return 2
        found += results
        left = left[len(results) :]
        if why and left:
            found.append({"case": left.pop(0), "failed": why})
    report = {"device": options.device, "quick": options.quick, "cases": found, "missed": missed(found, options)}
    print("\n".join(page(report)))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 1 if report["missed"] or any("failed" in result for result in found) else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(NAMES)}; all if left out")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, which on a CPU are taken anyhow")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS", help="for all of it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.cases) - {*NAMES}:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    options.quick = options.quick or options.device == "cpu"
    return options


def worked(options: argparse.Namespace, cases: list[str], seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Time cases in a process of their own; return the results of the first ones, and why the next one failed."""
    words = [sys.executable, __file__, *cases, "--worker", "--device", options.device]
    words += ["--quick"] if options.quick else []
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
        output, why = done.stdout, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        why = "" if done.returncode in (0, NO_GRAPH) else why
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        why = f"no time left of {options.limit:.0f} s"
    return [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")], why


def work(options: argparse.Namespace) -> int:
    """Print the result of each case in a line; stop where a card may be in no state to go on."""
    import warnings

    import gpu_measure
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print(NO_CARD, file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of optimisers that could be captured, and are not
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("privbench").addHandler(handler)
    for name in options.cases:
        said.clear()
        measure = gpu_measure.whole_run if name in RUNS else gpu_measure.rates
        result = {"case": name, **measure(name.removeprefix("run-"), options.device, quick=options.quick)}
        print(json.dumps({**result, **({"said": list(said)} if said else {})}), flush=True)
        if result.get("no_graph"):
            return NO_GRAPH
    return 0


def missed(found: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    """Return the bars that are missed, in words; in tiny sizes, and on a CPU, there are none."""
    if options.quick:
        return []
    lines = []
    for result in found:
        name = result["case"]
        if "failed" in result:
            continue
        if name in BARS and result["x_bare"] < BARS[name]:
            lines.append(f"{name}: {result['x_bare']:.1f} x the bare loop; the bar is {BARS[name]:.0f} x")
        elif name in RUNS and result["busy"] < BUSY_BAR:
            lines.append(f"{name}: busy for {result['busy']:.0%} of the run; the bar is {BUSY_BAR:.0%}")
    return lines


def page(report: dict[str, Any]) -> list[str]:
    """Return the report as text of 80 columns."""
    lines = [COLUMNS, "-" * len(COLUMNS)]
    for result in report["cases"]:
        name = result["case"]
        if "failed" in result:
            lines.append(f"{name:18} failed: {result['failed']}"[:200])
        elif name in RUNS:
            for run in (result["one_lane"], result):
                lanes = f"{run['lanes']} lane{'s' if run['lanes'] > 1 else ''}"
                made = f"{run['models']} models in {run['seconds']:.1f} s"
                lines.append(f"{name:22} {lanes:>7} {made}, {run['models_per_hour']:,.0f}/h, busy {run['busy']:.0%}")
        else:
            graph, x_graph = result["graph"], result["x_graph"]
            cells = [f"{graph:10,.0f}" if graph else f"{'-':>10}", f"{result['x_bare']:7.2f}"]
            cells += [f"{x_graph:7.2f}" if x_graph else f"{'-':>7}", f"{result['start']:5.2f}"]
            rates = f"{result['privbench']:9,.0f} {result['bare']:9,.0f}"
            lines.append(f"{name:18} {rates} {' '.join(cells)} {result['models_per_hour']:8,.0f}")
    lines += ["examples/s; x: privbench's over the other's; start: seconds before the epochs"]
    timed = [result for result in report["cases"] if "models_per_hour_in_lanes" in result]
    lines += ["", f"{'models an hour':18} {'1 lane':>9} {'lanes':>9} {'x':>7}"] if timed else []
    for result in timed:
        one, several = result["models_per_hour"], result["models_per_hour_in_lanes"]
        lines.append(f"{result['case']:18} {one:9,.0f} {several:9,.0f} {several / one:7.2f} ({result['lanes']} lanes)")
    notes = {note: None for result in report["cases"] for note in (*result.get("said", ()), result.get("no_graph"))}
    lines += [f"note: {note}" for note in notes if note]
    if report["quick"]:
        where = "a CPU has no graphs, and these" if report["device"] == "cpu" else "these"
        lines.append(f"{where} are tiny sizes: no bar is looked at")
    lines += [f"MISSED {line}" for line in report["missed"]]
    return lines


if __name__ == "__main__":
    sys.exit(main())
