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

VOLATILE = {"timing.json", "manifest.json"}  # wall times, and the hashes and date of what includes them


def _command(table_file, folder, jobs):
    task = f"npz:path={table_file},model=mlp,hidden=64,epochs=400"
    words = ["run", "--task", task, "--defense", "ce", "--attack", "lira", "--models", "6", "--jobs", str(jobs)]
    return [sys.executable, "-m", "privbench", *words, "--store", str(folder / "store"), "--out", str(folder / "out")]


def _threads(number):
    """Return an environment that grants the main process so many threads; workers have one each, whatever it says."""
    return {**os.environ, "OMP_NUM_THREADS": str(number)}


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
    subprocess.run(
        _command(table_file, undisturbed, jobs=2), check=True, capture_output=True, timeout=300, env=_threads(1)
    )

    process = subprocess.Popen(
        _command(table_file, killed, jobs=1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=_threads(2),
    )
    deadline = time.monotonic() + 300
    while not _made(killed) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = len(_made(killed))
    assert 1 <= made < 6

    second = subprocess.run(
        _command(table_file, killed, jobs=1), check=True, capture_output=True, text=True, timeout=300, env=_threads(2)
    )
    assert re.search(rf"; ({made}|{made + 1}) are in the store", second.stderr)
    assert _content(killed) == _content(undisturbed)
