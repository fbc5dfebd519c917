import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from privbench.errors import CellFailed, DataError, PrivbenchError, UsageError, WorkerDied
from privbench.executors import Outcome
from privbench.executors.local import LocalProcesses

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the jobs use signals and fcntl")
HERE = str(Path(__file__).parent)


@pytest.fixture
def jobs(monkeypatch):
    """The module of job functions, importable here and, through the path that spawn hands on, in workers."""
    monkeypatch.syspath_prepend(HERE)
    import local_jobs

    yield local_jobs
    assert multiprocessing.active_children() == []


def outcomes(executor, function, jobs, **options):
    return sorted(executor.run(function, jobs, **options), key=lambda outcome: outcome.index)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_results_do_not_depend_on_the_number_of_workers(jobs, workers):
    found = outcomes(LocalProcesses(workers), jobs.square, [3, 4, 5, 6, 7])
    assert [(o.index, o.job, o.result, o.error) for o in found] == [
        (i, j, j * j, None) for i, j in enumerate(range(3, 8))
    ]
    assert all(o.seconds >= 0 for o in found)


def test_outcomes_come_as_jobs_complete_and_workers_go_on_meanwhile(jobs):
    run = LocalProcesses(1).run(jobs.nap, ["first", "second"])
    first = next(run)
    assert isinstance(first, Outcome)
    assert (first.index, first.result) == (0, "first")
    assert first.seconds >= 0.2
    [second] = run
    assert second.result == "second"


def wait_until(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def test_workers_do_all_jobs_while_the_caller_is_busy(jobs, tmp_path):
    files = [tmp_path / str(number) for number in range(7)]
    run = LocalProcesses(2).run(jobs.touch, files)
    wait_until(lambda: all(file.exists() for file in files))
    assert sorted(outcome.index for outcome in run) == list(range(7))


def test_a_worker_that_dies_is_replaced_while_the_caller_is_busy(jobs, tmp_path):
    once, after = tmp_path / "once", tmp_path / "after"
    run = LocalProcesses(1).run(jobs.die_or_touch, [once, after])
    wait_until(after.exists)
    assert [(o.index, o.error) for o in run] == [(0, None), (1, None)]


def test_progress_is_heard_in_the_thread_that_asks_for_outcomes(jobs):
    heard = []
    run = LocalProcesses(1).run(jobs.square, [1, 2], on_progress=lambda *_: heard.append(threading.get_ident()))
    first = next(run)
    assert (first.index, len(heard)) == (0, 1)
    next(run)
    assert set(heard) == {threading.get_ident()}
    assert len(heard) == 2


def test_a_run_whose_outcomes_nobody_asks_for_leaves_no_worker_behind(jobs, tmp_path):
    for leave in (lambda run: run.close(), lambda run: None):
        locks = [str(tmp_path / name) for name in "ab"]
        run = LocalProcesses(2).run(jobs.hold, locks)
        wait_until(lambda locks=locks: not any(map(jobs.is_free, locks)))
        leave(run)
        del run
        assert multiprocessing.active_children() == []
        assert all(map(jobs.is_free, locks))


def test_without_jobs_nothing_starts(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_context", lambda *args: pytest.fail("started"))
    assert list(LocalProcesses(2).run(print, [])) == []


def test_workers_have_their_own_threads_and_gpus_and_the_parent_its_own(jobs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-x,6")
    before = dict(os.environ)
    found = outcomes(LocalProcesses(3, threads=2, gpus=2), jobs.environment, range(4))
    assert dict(os.environ) == before
    for seen, heavy, process in (o.result for o in found):
        assert seen["OMP_NUM_THREADS"] == seen["OPENBLAS_NUM_THREADS"] == "2"
        assert seen["CUDA_VISIBLE_DEVICES"] in ("4", "GPU-x")
        assert heavy == []
        assert process != os.getpid()
    [one] = outcomes(LocalProcesses(1), jobs.environment, [0])
    assert one.result[0] == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "4,GPU-x,6"}
    executor = LocalProcesses(3, gpus=2)
    assert [executor.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "GPU-x", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [executor.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == [
        "0",
        "1",
        "0",
    ]


def test_progress_is_throttled_clipped_and_named(jobs):
    heard = []
    found = outcomes(LocalProcesses(1), jobs.chatter, [100_000, 3], on_progress=lambda *args: heard.append(args))
    assert [o.error for o in found] == [None, None]
    for index in range(2):
        mine = [(done, stage) for i, done, stage in heard if i == index]
        assert mine[0] == (0.0, "step 0")
        assert (1.0, "over") in mine
        assert len(mine) < 5 * found[index].seconds + 2
        assert all(0 <= done <= 1 for done, _ in mine)


def test_what_goes_wrong_in_a_job_stays_in_its_outcome(jobs):
    work = ["ours", "wordy", "theirs", "exit", "lambda", "unloadable", jobs.Unsendable(), jobs.Unreadable(), "fine"]
    ours, wordy, theirs, leave, local, unloadable, unsendable, unreadable, fine = outcomes(
        LocalProcesses(2), jobs.fail, work
    )
    assert (type(ours.error), str(ours.error)) == (DataError, "no such data")
    assert (type(wordy.error), str(wordy.error)) == (CellFailed, "one and two")
    assert type(theirs.error) is CellFailed
    assert str(theirs.error).startswith("ValueError: several lines xxx")
    assert len(str(theirs.error)) < 600
    assert (type(leave.error), str(leave.error)) == (CellFailed, "SystemExit: 3")
    assert "lambda" in str(local.error)
    assert str(unloadable.error).startswith("The result cannot be received: ValueError: ")
    assert str(unsendable.error) == "The job cannot be sent to a worker: TypeError: stays at home"
    assert (type(unreadable.error), str(unreadable.error)) == (DataError, "the data changed")
    assert (fine.error, fine.result) == (None, "fine")
    for outcome in (ours, wordy, theirs, leave):
        [trace] = outcome.error.__notes__
        assert "in fail" in trace
    assert all(o.result is None and "\n" not in str(o.error) for o in (ours, wordy, theirs, leave, local, unloadable))


def test_a_function_that_cannot_be_sent_is_one_line():
    with pytest.raises(PrivbenchError, match=r"cannot be sent to workers; use a module's top-level function\.$"):
        next(LocalProcesses(1).run(lambda job, report: job, [1]))


def test_a_killed_worker_costs_only_the_job_it_was_at(jobs, tmp_path):
    once = tmp_path / "once"
    work = ["always", once, "leave", *range(6)]
    killed, again, left, *others = outcomes(LocalProcesses(2), jobs.die, work)
    assert type(killed.error) is WorkerDied
    assert str(killed.error) == (
        "The worker process was killed by SIGKILL in 2 attempts; out of memory? Try fewer --jobs."
    )
    assert (again.error, again.result) == (None, once)
    assert type(left.error) is WorkerDied
    assert str(left.error) == "The worker process ended with exit code 5 in 2 attempts."
    assert [(o.error, o.result) for o in others] == [(None, i) for i in range(6)]


@pytest.mark.parametrize("end", ["close", "throw", "callback"])
def test_whoever_stops_listening_leaves_no_worker_behind(jobs, tmp_path, end):
    locks = [str(tmp_path / name) for name in "ab"]
    held = []

    def on_progress(index, done, stage):
        held.append(index)
        if end == "callback" and len(held) == 2:
            raise KeyboardInterrupt

    if end == "callback":
        with pytest.raises(KeyboardInterrupt):
            list(LocalProcesses(2).run(jobs.hold, locks, on_progress))
    else:
        run = LocalProcesses(2).run(jobs.hold, ["none", *locks])
        next(run)
        if end == "close":
            run.close()
        else:
            with pytest.raises(KeyboardInterrupt):
                run.throw(KeyboardInterrupt())
    assert multiprocessing.active_children() == []
    assert all(map(jobs.is_free, locks))


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs inherit as ignored
sys.path.insert(0, {here!r})
import local_jobs
from privbench.executors.local import LocalProcesses

if __name__ == "__main__":
    for outcome in LocalProcesses(2).run(local_jobs.hold, sys.argv[1:], lambda *heard: print(*heard, flush=True)):
        print(outcome)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphans_however_the_parent_ends(jobs, tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=HERE))
    locks = [str(tmp_path / name) for name in "ab"]
    command = [sys.executable, script, *locks]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as parent:
        assert sorted(parent.stdout.readline() for _ in locks) == [b"0 0.0 held\n", b"1 0.0 held\n"]
        assert not any(map(jobs.is_free, locks))
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does: to parent and workers
        else:
            parent.send_signal(number)
        said = parent.stderr.read().decode()  # until the last of them has closed it
        assert parent.wait() != 0
    deadline = time.monotonic() + 60
    while not all(map(jobs.is_free, locks)):
        assert time.monotonic() < deadline, "an orphan works on"
        time.sleep(0.01)
    assert not list(tmp_path.glob("*.interrupted"))  # workers are deaf to Ctrl-C
    assert said.count("Traceback") == (number == signal.SIGINT)


def run_script(path, text):
    path.write_text(f"import sys\nsys.path.insert(0, {HERE!r})\n{text}")
    return subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    done = run_script(
        tmp_path / "script.py",
        "import local_jobs\n"
        "from privbench.executors.local import LocalProcesses\n"
        "print(list(LocalProcesses(2).run(local_jobs.square, [1, 2, 3])))\n",
    )
    assert done.stderr.splitlines()[-1] == (
        "privbench.errors.PrivbenchError: Workers import the script that starts them: "
        "put its code under `if __name__ == '__main__':`."
    )
    assert done.stderr.count("Traceback") == 1
    assert done.stdout == ""


def test_workers_that_cannot_begin_are_one_line(tmp_path):
    done = run_script(
        tmp_path / "script.py",
        "import local_jobs\n"
        "from privbench.executors.local import LocalProcesses\n"
        "if __name__ == '__main__':\n"
        "    list(LocalProcesses(1).run(local_jobs.square, [1]))\n"
        "else:\n"
        "    sys.exit(9)\n",
    )
    assert "exit code 9 before its first job; see its output for the reason." in done.stderr.splitlines()[-1]
    done = run_script(
        tmp_path / "killed.py",
        "import local_jobs, os\n"
        "from privbench.executors.local import LocalProcesses\n"
        "if __name__ == '__main__':\n"
        "    list(LocalProcesses(1).run(local_jobs.square, [1]))\n"
        "else:\n"
        "    os.kill(os.getpid(), 9)\n",
    )
    assert "killed by SIGKILL before its first job; out of memory? Try fewer --jobs." in done.stderr.splitlines()[-1]


def test_no_process_to_be_had_is_one_line(jobs, monkeypatch):
    def refuse(self):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    with pytest.raises(PrivbenchError, match=r"Cannot start a worker process: Resource temp.*; try fewer --jobs"):
        next(LocalProcesses(2).run(jobs.square, [1, 2]))


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (-1, 1), (1, 0)])
def test_less_than_one_is_refused(workers, threads):
    with pytest.raises(UsageError, match="at least 1"):
        LocalProcesses(workers, threads)
