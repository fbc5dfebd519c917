"""The pool: which worker does what, and what becomes of calls that go wrong."""

import threading
import time
from pathlib import Path

import pytest

from privbench.errors import CellFailed, DataError, NotMade, OnlyAlone, PrivbenchError, TimedOut, WorkerDied
from privbench.executors import Call, Outcome
from privbench.executors.local import LocalProcesses

# Order and number of workers


@pytest.mark.parametrize("workers", [1, 3])
def test_the_results_do_not_depend_on_the_number_of_workers(jobs, started, workers):
    found = jobs.outcomes(LocalProcesses(workers), jobs.square, [3, 4, 5, 6, 7])
    assert [(o.index, o.job, o.result, o.error) for o in found] == [
        (i, j, j * j, None) for i, j in enumerate(range(3, 8))
    ]
    assert all(o.seconds >= 0 for o in found)


def test_outcomes_come_as_calls_complete_and_workers_go_on_meanwhile(jobs):
    run = LocalProcesses(1).run(jobs.nap, ["first", "second"])
    first = next(run)
    assert isinstance(first, Outcome)
    assert (first.index, first.result) == (0, "first")
    assert first.seconds >= 0.2
    [second] = run
    assert second.result == "second"


def test_workers_do_all_calls_while_the_caller_is_busy(jobs, started, tmp_path):
    files = [tmp_path / str(number) for number in range(7)]
    with LocalProcesses(2).pool() as pool:
        for file in files:
            pool.submit(Call(jobs.touch, file))
        jobs.wait_until(lambda: all(file.exists() for file in files))
        assert sorted(outcome.index for outcome in pool.outcomes()) == list(range(7))


def test_a_worker_that_dies_is_replaced_while_the_caller_is_busy(jobs, tmp_path):
    once, after = tmp_path / "once", tmp_path / "after"
    with LocalProcesses(1).pool() as pool:
        for file in (once, after):
            pool.submit(Call(jobs.die_or_touch, file))
        jobs.wait_until(after.exists)
        assert [(o.index, o.error) for o in pool.outcomes()] == [(0, None), (1, None)]


def test_more_calls_may_be_submitted_between_outcomes_and_after_all_of_them(jobs):
    with LocalProcesses(1).pool() as pool:
        pool.submit(Call(jobs.square, 2))
        found = []
        for outcome in pool.outcomes():
            found.append(outcome.result)
            if len(found) < 3:
                assert pool.submit(Call(jobs.square, outcome.result)) == len(found)
        assert found == [4, 16, 256]
        assert list(pool.outcomes()) == []
        pool.submit(Call(jobs.square, 3))
        assert [outcome.result for outcome in pool.outcomes()] == [9]


def test_first_calls_are_preferred_to_others_that_wait(jobs):
    calls = [Call(jobs.nap, "begun", first=True), *(Call(jobs.square, 1, first=first) for first in (False, True, True))]
    found, order = jobs.pooled(LocalProcesses(1), calls)
    assert order == [0, 2, 3, 1]
    assert [outcome.error for outcome in found] == [None] * 4


def test_cancelled_calls_have_the_reason_for_their_outcome_unless_they_have_begun(jobs):
    with LocalProcesses(1).pool() as pool:
        for _ in range(4):
            pool.submit(Call(jobs.nap, "x"))
        outcomes = pool.outcomes()
        next(outcomes)
        why = NotMade("no use")
        pool.cancel([0, 2, 3], why)
        found = {outcome.index: outcome.error for outcome in outcomes}
    assert found == {1: None, 2: why, 3: why}


def test_progress_is_heard_in_the_thread_that_asks_for_outcomes(jobs):
    heard = []
    run = LocalProcesses(1).run(jobs.square, [1, 2], on_progress=lambda *_: heard.append(threading.get_ident()))
    first = next(run)
    assert (first.index, len(heard)) == (0, 1)
    next(run)
    assert set(heard) == {threading.get_ident()}
    assert len(heard) == 2


# Calls that go wrong


def test_what_goes_wrong_in_a_call_stays_in_its_outcome(jobs, started):
    work = ["ours", "wordy", "theirs", "exit", "lambda", "unloadable", jobs.Unsendable(), jobs.Unreadable(), "fine"]
    ours, wordy, theirs, leave, local, unloadable, unsendable, unreadable, fine = jobs.outcomes(
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


SAID = {
    "text": "Text: (it cannot be described)",
    "base": "Base: base",
    "interrupt": "KeyboardInterrupt",
    "generator exit": "GeneratorExit",
    "memory": "MemoryError",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "exit": "SystemExit",
    "hard exit": "The worker process ended with exit code 0 in 2 attempts.",
    "segmentation fault": "The worker process was killed by SIGSEGV in 2 attempts.",
    "abort": "The worker process was killed by SIGABRT in 2 attempts.",
    "terminate": "The worker process was killed by SIGTERM in 2 attempts.",
    "kill": "The worker process was killed by SIGKILL in 2 attempts; out of memory? Try fewer --jobs.",
    "kill its group": "The worker process was killed by SIGKILL in 2 attempts; out of memory? Try fewer --jobs.",
    "kill its parent": "The worker process was killed by SIGKILL in 2 attempts; out of memory? Try fewer --jobs.",
    "close files": "The worker process ended with exit code 0 in 2 attempts.",
    "close files and stay": "The worker process has closed its connection.",
}


def test_whatever_a_component_does_the_calls_of_others_are_done(jobs, capfd):
    work = [each for name in SAID for each in (name, f"not {name}")]
    calls = [Call(jobs.misbehave, name, serves=name) for name in work]
    found, _ = jobs.pooled(LocalProcesses(2), calls)
    for outcome in found:
        if outcome.job in SAID:
            assert str(outcome.error).startswith(SAID[outcome.job]), outcome.job
            assert isinstance(outcome.error, CellFailed)
        else:
            assert (outcome.error, outcome.result) == (None, outcome.job)
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_whose_cause_cannot_be_shown_is_told(jobs):
    [outcome] = jobs.outcomes(LocalProcesses(1), jobs.caused, [1])
    assert str(outcome.error) == "DataError: (it cannot be described)"


def test_a_process_that_a_component_forks_ends_where_the_call_does(jobs):
    work = ["fork", "fork and report", "nan", "thread", "fine"]
    heard = []
    with LocalProcesses(1).pool(lambda *told: heard.append(told)) as pool:
        for each in work:
            pool.submit(Call(jobs.be, each))
        found = list(pool.outcomes())
    assert [(outcome.result, outcome.error) for outcome in found] == [
        (result, None) for result in ("both", "parent", "nan", "thread", "fine")
    ]
    assert heard == [(2, 0.0, "no share")]


def test_a_killed_worker_costs_only_the_call_it_was_at(jobs, started, tmp_path):
    once = tmp_path / "once"
    work = ["always", once, "leave", *range(6)]
    killed, again, left, *others = jobs.outcomes(LocalProcesses(2), jobs.die, work)
    assert type(killed.error) is WorkerDied
    assert str(killed.error) == (
        "The worker process was killed by SIGKILL in 2 attempts; out of memory? Try fewer --jobs."
    )
    assert (again.error, again.result) == (None, once)
    assert type(left.error) is WorkerDied
    assert str(left.error) == "The worker process ended with exit code 5 in 2 attempts."
    assert [(o.error, o.result) for o in others] == [(None, i) for i in range(6)]


def test_a_call_that_takes_too_long_is_stopped_and_others_go_on(jobs, started):
    calls = [Call(jobs.naps_in_lanes, job) for job in ("late", "a", "b")]
    (late, *others), _ = jobs.pooled(LocalProcesses(2, timeout=2.0), calls)
    assert type(late.error) is TimedOut
    assert str(late.error) == "It was stopped after 2 s; see --timeout."
    assert [(outcome.error, outcome.result) for outcome in others] == [(None, "a"), (None, "b")]


# Whose code runs where


def test_what_a_component_leaves_in_its_process_reaches_no_other(jobs, started):
    here = Path.cwd()
    serves = ["a", "b", "a", "b", "", ""]
    calls = [Call(jobs.leave_traces if name else jobs.traces, name, serves=name) for name in serves]
    for workers in (1, 3):
        found, _ = jobs.pooled(LocalProcesses(workers), calls)
        assert [outcome.error for outcome in found] == [None] * 6
        assert all(outcome.result in (None, outcome.job) for outcome in found[:4])
        assert [outcome.result[:2] for outcome in found[4:]] == [(False, here)] * 2


def test_components_of_privbench_share_processes_and_others_keep_theirs(jobs):
    calls = [Call(jobs.process, number, serves=name) for number, name in enumerate(["", "", "a", "a", "b", ""])]
    found, _ = jobs.pooled(LocalProcesses(1), calls)
    one, two, three, four, five, six = (outcome.result for outcome in found)
    assert one == two
    assert three == four
    assert len({one, three, five, six}) == 4  # with one worker at a time, each must make room for the next


# Questions to the caller


def test_a_call_gets_answers_and_their_errors(jobs, started):
    def answer(request):
        if request == "ours":
            raise DataError("not that")
        if request == "theirs":
            raise ValueError("no\nanswer")
        return threading.Lock() if request == "unsendable" else request * 2

    work = [[1, 2, "x"], ["ours"], ["theirs"], ["unsendable"]]
    found, _ = jobs.pooled(LocalProcesses(1), [Call(jobs.asks, each, answer=answer) for each in work])
    right, ours, theirs, unsendable = found
    assert right.result == [2, 4, "xx"]
    assert (type(ours.error), str(ours.error)) == (DataError, "not that")
    assert (type(theirs.error), str(theirs.error)) == (CellFailed, "ValueError: no answer")
    assert "cannot pickle" in str(unsendable.error)


def test_a_call_that_nobody_answers_is_told_so(jobs):
    [outcome], _ = jobs.pooled(LocalProcesses(1), [Call(jobs.asks, [1])])
    assert str(outcome.error) == "this call has nobody to ask."
    [outcome], _ = jobs.pooled(LocalProcesses(1), [Call(jobs.asks_from_a_thread, 1, answer=str)])
    assert outcome.result == ["only the main thread of a process can ask for more evidence."]


def test_other_calls_go_on_while_an_answer_takes_long(jobs):
    released = threading.Event()
    with LocalProcesses(2).pool() as pool:
        pool.submit(Call(jobs.asks, [1], answer=lambda _: released.wait(60)))
        for number in range(3):
            pool.submit(Call(jobs.square, number))
        outcomes = pool.outcomes()
        assert [next(outcomes).result for _ in range(3)] == [0, 1, 4]
        released.set()
        assert next(outcomes).result == [True]


def test_a_worker_that_dies_while_or_after_it_asks_costs_its_call_alone(jobs):
    asked = []
    calls = [Call(jobs.asks_and_dies, 1, answer=asked.append), Call(jobs.square, 3)]
    (died, fine), _ = jobs.pooled(LocalProcesses(1), calls)
    assert type(died.error) is WorkerDied
    assert asked == [1, 1]
    assert fine.result == 9


def test_the_time_of_answers_is_not_the_calls(jobs):
    calls = [Call(jobs.asks, [1], answer=lambda _: time.sleep(1.5)), Call(jobs.loops, 0), Call(jobs.square, 3)]
    (asked, late, fine), _ = jobs.pooled(LocalProcesses(1, timeout=1.0), calls)
    assert asked.result == [None]
    assert type(late.error) is TimedOut
    assert fine.result == 9


# Lanes


@pytest.mark.parametrize("lanes", [1, 4])
def test_calls_of_a_lane_run_beside_each_other_with_the_same_results(jobs, lanes):
    calls = [Call(jobs.in_lanes, number, lane="a") for number in range(8)]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=lanes), calls)
    assert [(outcome.result[0], outcome.error) for outcome in found] == [(number, None) for number in range(8)]
    assert len({outcome.result[1] for outcome in found}) == 1
    assert {outcome.result[2] for outcome in found} == {lanes == 1}


def test_calls_of_different_lanes_or_none_never_run_beside_each_other(jobs):
    lanes = ["a", "b", None, "a", None, "b"]
    calls = [Call(jobs.needs_memory, (number, 1), lane=lane) for number, lane in enumerate(lanes)]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=2), calls[:3] + calls[4:5])
    assert [outcome.error for outcome in found] == [None] * 4


@pytest.mark.parametrize("at_most", [1, 2])
def test_out_of_memory_halves_the_lanes_and_the_calls_are_tried_again(jobs, at_most):
    calls = [Call(jobs.needs_memory, (number, at_most), lane="a") for number in range(6)]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=4), calls)
    assert [(outcome.result, outcome.error) for outcome in found] == [(number, None) for number in range(6)]


def test_what_needs_too_much_memory_even_alone_fails_alone(jobs):
    calls = [Call(jobs.needs_memory, (number, 0 if number == 1 else 9), lane="a") for number in range(4)]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=4), calls)
    assert [str(outcome.error) for outcome in found if outcome.error] == ["OutOfMemoryError: CUDA out of memory"]
    assert [outcome.result for outcome in found] == [0, None, 2, 3]


def test_with_cards_calls_without_a_lane_have_processes_of_their_own(jobs):
    lanes = ["a", "a", "a", None, None, "a", None, "a"]
    calls = [Call(jobs.in_lanes, number, lane=lane) for number, lane in enumerate(lanes)]
    found, _ = jobs.pooled(LocalProcesses(3, gpus=1, lanes=2), calls)
    processes = {lane: {each.result[1] for each, of in zip(found, lanes, strict=True) if of == lane} for lane in lanes}
    assert len(processes["a"]) == 1
    assert {each.result[2] for each, of in zip(found, lanes, strict=True) if of is None} == {True}


def test_a_call_without_a_lane_does_not_wait_for_those_with_one(jobs, tmp_path):
    done = tmp_path / "done"
    calls = [Call(jobs.waits_for, done, lane="a") for _ in range(4)]
    found, _ = jobs.pooled(LocalProcesses(2, gpus=1, lanes=2), [*calls, Call(jobs.touch, done, first=True)])
    assert [outcome.error for outcome in found] == [None] * 5


def test_what_cannot_run_beside_others_is_tried_again_alone_in_the_main_thread(jobs):
    work = ["a", "alone", "b", "never", "c"]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=3), [Call(jobs.only_alone, job, lane="a") for job in work])
    assert [outcome.result for outcome in found] == [*(("a", False), ("alone", True), ("b", False), None, ("c", False))]
    assert (type(found[3].error), str(found[3].error)) == (OnlyAlone, "not even by itself.")


def test_after_an_error_of_the_device_each_call_is_tried_alone(jobs):
    work = ["a", "b", "breaks", "c", "d", "e"]
    calls = [Call(jobs.breaks_the_device, job, lane="a") for job in work]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=4), calls)
    assert [outcome.result for outcome in found] == ["a", "b", None, "c", "d", "e"]
    assert "CUDA error" in str(found[2].error)


def test_of_the_calls_of_a_worker_that_died_each_is_tried_alone(jobs):
    calls = [Call(jobs.dies_in_lanes, job, lane="a") for job in ("a", "dies", "b", "c", "d")]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=3), calls)
    assert [outcome.result for outcome in found] == ["a", None, "b", "c", "d"]
    assert type(found[1].error) is WorkerDied


def test_a_late_call_ends_its_process_and_those_beside_it_are_done(jobs):
    calls = [Call(jobs.naps_in_lanes, job, lane="a") for job in ("a", "late", "b", "c")]
    found, _ = jobs.pooled(LocalProcesses(1, lanes=2, timeout=2.0), calls)
    assert [outcome.result for outcome in found] == ["a", None, "b", "c"]
    assert type(found[1].error) is TimedOut


# The end of a run


@pytest.mark.parametrize("end", ["close", "throw", "callback"])
def test_whoever_stops_listening_leaves_no_worker_behind(jobs, started, tmp_path, end):
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
    assert all(map(jobs.is_free, locks))


def test_a_pool_whose_outcomes_nobody_asks_for_leaves_no_worker_behind(jobs, tmp_path):
    locks = [str(tmp_path / name) for name in "ab"]
    with LocalProcesses(2).pool() as pool:
        for lock in locks:
            pool.submit(Call(jobs.hold, lock))
        jobs.wait_until(lambda: not any(map(jobs.is_free, locks)))
    assert all(map(jobs.is_free, locks))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("privbench")]


def test_no_process_to_be_had_is_one_line(jobs, started, monkeypatch):
    def refuse(*_args):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    monkeypatch.setattr("privbench.executors.nursery.Nursery.fork", refuse)
    with pytest.raises(PrivbenchError, match=r"Cannot start a worker process: Resource temp.*; try fewer --jobs"):
        next(LocalProcesses(2).run(jobs.square, [1, 2]))
