import os
import subprocess
import sys
from pathlib import Path

import pytest

from privbench.errors import PrivbenchError, UsageError
from privbench.executors.local import LocalProcesses

HERE = str(Path(__file__).parent)


def test_work_starts_when_the_first_outcome_is_requested(jobs, tmp_path):
    file = tmp_path / "touched"
    run = LocalProcesses(1).run(jobs.touch, [file])
    assert not file.exists()
    assert [outcome.error for outcome in run] == [None]
    assert file.exists()


def test_without_jobs_nothing_starts(started, monkeypatch):
    monkeypatch.setattr("privbench.executors.local.Worker", lambda *_: pytest.fail("started"))
    assert list(LocalProcesses(2).run(print, [])) == []


def test_a_function_that_cannot_be_sent_is_one_line():
    with pytest.raises(PrivbenchError, match=r"cannot be sent to workers; use a module's top-level function\.$"):
        next(LocalProcesses(1).run(lambda job, report: job, [1]))


def test_workers_have_their_own_threads_and_gpus_and_the_parent_its_own(jobs, started, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-x,6")
    before = dict(os.environ)
    found = jobs.outcomes(LocalProcesses(3, threads=2, gpus=2), jobs.environment, range(4))
    assert dict(os.environ) == before
    for seen, heavy, process in (o.result for o in found):
        assert seen["OMP_NUM_THREADS"] == seen["OPENBLAS_NUM_THREADS"] == "2"
        assert seen["CUDA_VISIBLE_DEVICES"] in ("4", "GPU-x")
        assert heavy == []
        assert process != os.getpid()
    [one] = jobs.outcomes(LocalProcesses(1), jobs.environment, [0])
    assert one.result[0] == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "4,GPU-x,6"}
    executor = LocalProcesses(3, gpus=2)
    assert [executor.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "GPU-x", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [executor.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "1", "0"]


def test_workers_see_the_environment_path_and_folder_of_the_parent_as_they_are_now(
    jobs, started, monkeypatch, tmp_path
):
    executor = LocalProcesses(1)
    assert [outcome.error for outcome in executor.run(jobs.square, [1])] == [None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "late")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for function, expected in ((jobs.environment, "late"), (jobs.surroundings, (str(tmp_path), str(tmp_path)))):
        [outcome] = executor.run(function, [0])
        found = outcome.result if function is jobs.surroundings else outcome.result[0]["CUDA_VISIBLE_DEVICES"]
        assert found == expected


def test_the_environment_may_be_large_and_the_folder_gone(jobs, started, monkeypatch, tmp_path):
    for number in range(4):
        monkeypatch.setenv(f"LARGE_{number}", "x" * 100_000)
    assert [outcome.result for outcome in LocalProcesses(1, threads=3).run(jobs.square, [2])] == [4]
    if started == "fork":
        folder = tmp_path / "gone"
        folder.mkdir()
        monkeypatch.chdir(folder)
        folder.rmdir()
        assert [outcome.result for outcome in LocalProcesses(1, threads=3).run(jobs.square, [2])] == [4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "--jobs must be at least 1, not 0."),
        ({"workers": -1}, "--jobs must be at least 1, not -1."),
        ({"workers": 1, "threads": 0}, "at least 1 thread"),
        ({"workers": 1, "lanes": 0}, "at least 1 lane"),
        ({"workers": 1, "timeout": -1.0}, "--timeout must be a number of seconds"),
        ({"workers": 1, "timeout": float("nan")}, "--timeout must be a number of seconds"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        LocalProcesses(**options)


# Scripts


def run_script(path, text, *, spawns=False):
    start = "import privbench.executors.local as local\nlocal.FORKS = False\n" if spawns else ""
    head = f"import sys\nsys.path.insert(0, {HERE!r})\nimport local_jobs\n{start}"
    path.write_text(f"{head}from privbench.executors.local import LocalProcesses\n{text}")
    return subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)


OWN = """
class Own:
    n = 3

def of(job, report):
    return job.n
"""


def test_a_script_needs_a_guard_only_where_its_own_classes_are_in_jobs(jobs, tmp_path):
    path = tmp_path / "script.py"
    done = run_script(path, "print(*(o.result for o in LocalProcesses(1).run(local_jobs.square, [1, 2, 3])))\n")
    assert (done.stdout, done.stderr) == ("1 4 9\n", "")
    run = "print(*(o.error or o.result for o in LocalProcesses(1).run(of, [Own()])))\n"
    done = run_script(path, OWN + run)
    assert done.stdout == ("A worker starts no workers: put your script's code under `if __name__ == '__main__':`.\n")
    assert done.stderr == ""
    done = run_script(path, f"{OWN}if __name__ == '__main__':\n    {run}")
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_workers_that_cannot_begin_are_one_line(jobs, tmp_path):
    guarded = "if __name__ == '__main__':\n    list(LocalProcesses(1).run(local_jobs.square, [1]))\nelse:\n    {}\n"
    done = run_script(tmp_path / "script.py", guarded.format("sys.exit(9)"), spawns=True)
    assert "exit code 9 before its first job; see its output for the reason." in done.stderr.splitlines()[-1]
    done = run_script(tmp_path / "script.py", guarded.format("import os; os.kill(os.getpid(), 9)"), spawns=True)
    assert "killed by SIGKILL before its first job; out of memory? Try fewer --jobs." in done.stderr.splitlines()[-1]


def test_a_script_that_fails_in_a_worker_fails_the_job_that_needs_it(jobs, tmp_path):
    run = "print(*(o.error or o.result for o in LocalProcesses(1).run(of, [Own()])))\n"
    text = f"{OWN}if __name__ == '__main__':\n    {run}else:\n    1 / 0\n"
    done = run_script(tmp_path / "script.py", text)
    assert done.stdout == "ZeroDivisionError: division by zero\n"
