"""What the workers of test_local.py do: top-level functions of a module that imports nothing heavy."""

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from privbench.errors import DataError, PrivbenchError


def square(job, report):
    report(0.5, "squaring")
    return job * job


def nap(job, report):
    time.sleep(0.2)
    return job


def environment(job, report):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    heavy = sorted({"numpy", "torch"} & set(sys.modules))
    time.sleep(0.2)
    return {name: os.environ.get(name) for name in names}, heavy, os.getpid()


def chatter(job, report):
    for i in range(job):
        report(i / job, f"step {i}")
    report(7, "over")
    time.sleep(0.25)
    report(7, "over")


class WordyError(PrivbenchError):
    """An error that pickle cannot rebuild."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


class Unloadable:
    def __reduce__(self):
        return (int, ("no number",))


def fail(job, report):
    if job == "ours":
        raise DataError("no such data")
    if job == "wordy":
        raise WordyError("one", "two")
    if job == "theirs":
        raise ValueError("several\n  lines\n" + "x" * 1000)
    if job == "exit":
        sys.exit(3)
    if job == "lambda":
        return lambda: None
    if job == "unloadable":
        return Unloadable()
    return job


class Unsendable:
    def __reduce__(self):
        raise TypeError("stays at home")


class Unreadable:
    def __reduce__(self):
        return (explode, ())


def explode():
    raise DataError("the data changed")


def die(job, report):
    """Die always ("always"), the first time (a path), or never."""
    if job == "always":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "leave":
        os._exit(5)
    if isinstance(job, Path) and not job.exists():
        job.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return job


def touch(job, report):
    job.touch()


def die_or_touch(job, report):
    """Die the first time that a job is called "once"."""
    seen = job.exists()
    job.touch()
    if job.name == "once" and not seen:
        os.kill(os.getpid(), signal.SIGKILL)


def hold(job, report):
    """Hold a lock, which the system frees when the process is gone, and work until then."""
    if job == "none":
        return
    with Path(job).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        report(0.0, "held")
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(600)
        Path(job + ".interrupted").touch()
        time.sleep(600)


def is_free(path):
    with Path(path).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
