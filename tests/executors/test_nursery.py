"""Processes end with what has started them, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privbench.executors import Call
from privbench.executors.local import LocalProcesses

HERE = str(Path(__file__).parent)
linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs inherit as ignored
sys.path.insert(0, {here!r})
import local_jobs
import privbench.executors.local as local
from privbench.executors import Call

local.FORKS = local.FORKS and {forks}
if __name__ == "__main__":
    with local.LocalProcesses(3).pool(lambda *heard: print(*heard, flush=True)) as pool:
        for path in sys.argv[1:3]:
            pool.submit(Call(local_jobs.hold, path))
        if {forks}:
            pool.submit(Call(local_jobs.child, (sys.argv[3], False, "waits"), serves="a"))
        for outcome in pool.outcomes():
            print(outcome)
"""


def nursery_of(process):
    """Return the number of the process that forks another one's workers, with one thread each."""
    of_threads = [each.read_text().split() for each in Path(f"/proc/{process}/task").glob("*/children")]
    children = [Path("/proc", each) for numbers in of_threads for each in numbers]
    [found] = [
        int(child.name)
        for child in children
        if b"nursery" in (child / "cmdline").read_bytes()
        and b"OMP_NUM_THREADS=1\0" in (child / "environ").read_bytes() + b"\0"
    ]
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphans_however_the_parent_ends(jobs, started, tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=HERE, forks=started == "fork"))
    locks = [str(tmp_path / name) for name in "abc"]
    expected = [b"0 0.0 held\n", b"1 0.0 held\n", b"2 0.0 held\n"][: 3 if started == "fork" else 2]
    command = [sys.executable, script, *locks]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as parent:
        assert sorted(parent.stdout.readline() for _ in expected) == expected
        assert not any(map(jobs.is_free, locks[: len(expected)]))
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does: to parent and workers
        else:
            parent.send_signal(number)
        said = parent.stderr.read().decode()  # until the last of them has closed it
        assert parent.wait() != 0
    jobs.wait_until(lambda: all(map(jobs.is_free, locks)))
    assert not list(tmp_path.glob("*.interrupted"))  # workers are deaf to Ctrl-C
    assert said.count("Traceback") == (number == signal.SIGINT)


@linux
def test_if_the_nursery_is_killed_all_workers_end_and_another_one_starts_others(jobs, tmp_path):
    locks = [tmp_path / name for name in "ab"]
    with LocalProcesses(2).pool() as pool:
        pool.submit(Call(jobs.child_once, (str(locks[0]), str(tmp_path / "once")), serves="a"))
        pool.submit(Call(jobs.child_once, (str(locks[1]), str(tmp_path / "twice")), serves="b"))
        jobs.wait_until(lambda: (tmp_path / "once").exists() and (tmp_path / "twice").exists())
        os.kill(nursery_of(os.getpid()), signal.SIGKILL)
        assert [outcome.error for outcome in pool.outcomes()] == [None, None]
    assert all(map(jobs.is_free, locks))


@linux
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("then", ["waits", "dies", "returns"])
def test_what_a_component_starts_ends_with_its_process(jobs, tmp_path, apart, then):
    lock = str(tmp_path / "lock")
    with LocalProcesses(1, timeout=2.0 if then == "waits" else 0.0).pool() as pool:
        pool.submit(Call(jobs.child, (lock, apart, then), serves="a"))
        pool.submit(Call(jobs.square, 2, serves="b"))
        found = {outcome.index: outcome for outcome in pool.outcomes()}
        assert jobs.is_free(lock)  # its process has made room for that of another component
    assert found[1].result == 4
    assert (found[0].error is None) == (then == "returns")


@linux
def test_the_process_of_a_component_is_nobody_elses_child(jobs):
    with LocalProcesses(2).pool() as pool:
        for name in "abc":
            pool.submit(Call(jobs.parents, name, serves=name))
        parents = [outcome.result for outcome in pool.outcomes()]
    assert len(set(parents)) == 3
    assert not {nursery_of(os.getpid()), os.getpid()} & set(parents)


@linux
def test_workers_have_what_the_nursery_has_imported(jobs):
    executor = LocalProcesses(1)
    executor.load(["no_such_module", "wave"])
    [outcome] = executor.run(jobs.imported, ["wave"])
    assert outcome.result


@linux
def test_workers_have_what_functions_have_left_in_the_nursery(jobs):
    executor = LocalProcesses(1)
    executor.load(["turtle_that_is_not_there:f", "string:no_such_function", f"{jobs.__name__}:remember"])
    [outcome] = executor.run(jobs.remembered, [0])
    assert outcome.result


PRINTS = """
import sys
sys.path.insert(0, {here!r})
import local_jobs
from privbench.executors.local import LocalProcesses

[outcome] = LocalProcesses(1).run(local_jobs.prints, ["some words"])
print("done")
"""


@linux
def test_the_output_of_components_is_not_that_of_a_command(jobs, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PRINTS.format(here=HERE))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "some words\n")


@linux
def test_a_component_in_an_endless_loop_keeps_nobody_from_starting_and_ends_with_the_pool(jobs):
    with LocalProcesses(2).pool() as pool:
        pool.submit(Call(jobs.loops, 0, serves="a"))
        for number in range(3):
            pool.submit(Call(jobs.square, number, serves=str(number)))
        outcomes = pool.outcomes()
        assert [next(outcomes).result for _ in range(3)] == [0, 1, 4]
