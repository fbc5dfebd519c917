"""A grid small enough for many faults: one run, its records, and plugins made for the occasion."""

import json
import os
import subprocess
import sys

import pytest

TINY = ["--task", "digits:epochs=1,hidden=8,limit=300", "--models", "4", "--jobs", "2"]
VOLATILE = ("cost", "environment", "created", "command")
"""Of a record, what may differ beside failures: times, and the number of attacks of which one is the strongest."""


class Laboratory:
    """A folder in which commands are run, each in a process of its own, with plugins on its path."""

    tiny = TINY

    def __init__(self, root):
        self.root = root

    def plugin(self, name, source):
        """Install a plugin of one module."""
        folder = self.root / "plugins" / name
        info = folder / f"{name}-0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[privbench]\n{name} = m_{name}\n")
        (folder / f"m_{name}.py").write_text(source)
        return name

    def command(self, *words, plugins=()):
        """Return the arguments of a process that runs a command."""
        path = [str(self.root / "plugins" / name) for name in plugins]
        names = ",".join(["privbench", *plugins])
        changes = {"PYTHONPATH": os.pathsep.join(path), "PRIVBENCH_PLUGINS": names, "OMP_NUM_THREADS": "1"}
        changes |= {"XDG_CACHE_HOME": str(self.root / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "privbench", *map(str, words)]
        return {"args": command, "cwd": self.root, "env": {**os.environ, **changes}}

    def cli(self, *words, plugins=()):
        """Run a command to its end."""
        options = {"capture_output": True, "text": True, "errors": "replace", "timeout": 300}
        return subprocess.run(check=False, **self.command(*words, plugins=plugins), **options)

    def run(self, *words, store="store", out="out", plugins=()):
        """Run a grid."""
        return self.cli("run", *TINY, *words, "--store", store, "--out", out, plugins=plugins)

    def audit(self, audit, *words, store="store", out="out", plugins=()):
        """Run an audit."""
        return self.cli("audit", audit, *TINY, *words, "--store", store, "--out", out, plugins=plugins)

    def tasks(self, out="out"):
        """Return one record of each task by its name, without what differs between two runs."""
        read = [json.loads(path.read_text()) for path in sorted((self.root / out).rglob("*.json"))]
        return {each["task"]["name"]: {k: v for k, v in each.items() if k not in VOLATILE} for each in read}

    def records(self, out="out"):
        """Return records by the names of defense and attack, without what differs between two runs."""
        read = [json.loads(path.read_text()) for path in sorted((self.root / out).rglob("*.json"))]
        found = {(each["defense"]["name"], each["attack"]["name"]): each for each in read}
        return {pair: {k: v for k, v in each.items() if k not in VOLATILE} for pair, each in found.items()}

    def harm(self, done, out, reference, expected):
        """Return the harm that each fault did in a run, beside its own cell and in it; "" for none.

        reference: the record of `ce` and `confidence`, which must not change
        expected: of each fault, its cell and the statuses that this may have
        """
        found, others = self.records(out), ""
        if "Traceback" in done.stderr + done.stdout or done.returncode != 1:
            others = f"exit code {done.returncode}: {done.stderr[-800:]}"
        if found.get(("ce", "confidence")) != reference:
            others = f"the other cell is wrong: {done.stderr[-800:]}"
        harm = {}
        for name, (cell, statuses) in expected.items():
            record = found.get(cell, {"status": "missing", "reason": ""})
            status, reason = record["status"], record["reason"]
            harm[name] = others if status in statuses else f"status {status}: {reason} {others}"
            if "\n" in reason or len(reason) > 700 or (status == "failed") != bool(reason):
                harm[name] = f"reason {reason[:200]!r}"
        return harm


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Laboratory(tmp_path_factory.mktemp("laboratory"))


@pytest.fixture(scope="module")
def reference(lab):
    """The record of `ce` and `confidence` alone, whose models are in the store "store" then."""
    assert lab.run("--attack", "confidence", out="reference").returncode == 0
    return lab.records("reference")["ce", "confidence"]


@pytest.fixture
def survived(record_property):
    """Tell how many faults of a kind were tried, and fail with those that did harm."""

    def tell(kind, harm):
        """harm: of each fault that was tried, the harm that it did, or nothing"""
        bad = {name: what for name, what in harm.items() if what}
        record_property("faults", [kind, len(harm), len(harm) - len(bad)])
        assert not bad, "\n".join(f"{name}: {what}" for name, what in bad.items())

    return tell
