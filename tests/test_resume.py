"""A run that is killed goes on where it stopped, to the same bytes, whatever the number of workers and of threads."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner

from privbench.cli import main

VOLATILE = {"timing.json", "manifest.json"}  # wall times, and the hashes and date of what includes them


def _command(table_file, folder, jobs):
    task = f"npz:path={table_file},model=mlp,hidden=64,epochs=400"
    words = ["run", "--task", task, "--defense", "ce", "--attack", "lira", "--models", "6", "--jobs", str(jobs)]
    return [*words, "--store", str(folder / "store"), "--out", str(folder / "out")]


def _run(table_file, folder, jobs, threads):
    """Run it here, where the main process has so many threads; workers have one each. Return what it says."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = CliRunner().invoke(main, _command(table_file, folder, jobs))
    finally:
        torch.set_num_threads(before)
    assert result.exit_code == 0, result.output
    return result.stderr


def _made(folder):
    return list((folder / "store").glob("answers/*/*"))


def _content(folder):
    """Return what a run left behind, but for times: the hash of every stored file, and every record's digest."""
    files = [path for path in (folder / "store").rglob("*") if path.is_file() and path.name not in VOLATILE]
    stored = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    records = {path.name: json.loads(path.read_text())["digest"] for path in (folder / "out").rglob("*.json")}
    scores = {path.name: path.read_bytes() for path in (folder / "out").rglob("*.npz")}
    return stored, records, scores


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_run_resumes_to_the_same_bytes_with_another_number_of_workers(table_file, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    _run(table_file, undisturbed, jobs=2, threads=1)

    process = subprocess.Popen(
        [sys.executable, "-m", "privbench", *_command(table_file, killed, jobs=1)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    deadline = time.monotonic() + 300
    while not _made(killed) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = len(_made(killed))
    assert 1 <= made < 6

    said = _run(table_file, killed, jobs=1, threads=2)
    assert re.search(rf"; ({made}|{made + 1}) are in the store", said)
    assert _content(killed) == _content(undisturbed)
