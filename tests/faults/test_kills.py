"""A run that is killed at any moment goes on to the same records."""

import subprocess
import sys
import time

import pytest

WORDS = ["--defense", "ce", "--defense", "relaxloss", "--attack", "confidence", "--attack", "entropy"]
MOMENTS = (1, 4, 9, 20, 33)
"""Number of files in the store, or beside the records, at which a run is killed."""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_run_killed_again_and_again_ends_with_the_same_records(lab, survived):
    assert lab.run(*WORDS, store="whole", out="whole-out").returncode == 0
    command = lab.command("run", *lab.tiny, *WORDS, "--store", "killed", "--out", "resumed")

    def files():
        return sum(path.is_file() for folder in ("killed", "resumed") for path in (lab.root / folder).rglob("*"))

    for moment in MOMENTS:
        with subprocess.Popen(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **command) as process:
            deadline = time.monotonic() + 120
            while files() < moment and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            process.kill()
    done = lab.run(*WORDS, store="killed", out="resumed")
    what = "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-800:]}"
    if lab.records("resumed") != lab.records("whole-out"):
        what = "other records"
    survived("kills", dict.fromkeys(map(str, MOMENTS), what))
