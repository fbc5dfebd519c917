import threading
import time

import pytest

from privbench.errors import CellFailed, DataError, TimedOut, WorkerDied
from privbench.executors import Call
from privbench.executors.local import LocalProcesses


@pytest.fixture
def pool():
    with LocalProcesses(1).pool() as pool:
        yield pool


def test_a_component_has_one_servant_that_is_no_worker_of_the_pool(jobs, started, pool):
    servant = pool.servant("a")
    assert pool.servant("a") is servant
    one, again = servant.call(jobs.process, 1), servant.call(jobs.process, 2)
    other = pool.servant("b").call(jobs.process, 1)
    pool.submit(Call(jobs.process, 1, serves="a"))
    [worker] = pool.outcomes()
    assert one == again
    assert len({one, other, worker.result}) == 3


def test_a_call_that_fails_raises_its_error_and_the_next_one_is_answered(jobs, pool):
    servant = pool.servant("a")
    with pytest.raises(DataError, match="no such data"):
        servant.call(jobs.fail, "ours")
    assert servant.call(jobs.square, 3) == 9


@pytest.mark.parametrize("way", ["hard exit", "kill", "close files"])
def test_a_servant_that_dies_is_replaced(jobs, pool, way):
    servant = pool.servant("a")
    with pytest.raises(WorkerDied, match=r"^The process that answers queries "):
        servant.call(jobs.misbehave, way)
    assert servant.call(jobs.square, 3) == 9


def test_a_servant_that_takes_too_long_is_stopped_and_replaced(jobs, started):
    with LocalProcesses(1, timeout=2.0).pool() as pool:
        servant = pool.servant("a")
        with pytest.raises(TimedOut, match=r"^The process that answers queries was stopped after 2 s\.$"):
            servant.call(jobs.loops, 0)
        assert servant.call(jobs.square, 3) == 9


def test_a_servant_asks_its_caller_whose_time_is_not_its_own(jobs):
    with LocalProcesses(1, timeout=1.0).pool() as pool:
        servant = pool.servant("a", "asks")
        assert servant.call(jobs.asks, [1, 2], lambda request: time.sleep(1.2) or request * 2) == [2, 4]
        with pytest.raises(CellFailed, match=r"this call has nobody to ask\."):
            servant.call(jobs.asks, [1])
        with pytest.raises(TimedOut, match=r"^The process that asks was stopped after 1 s\.$"):
            servant.call(jobs.loops, 0)


def test_a_result_that_cannot_be_read_fails_its_call_alone(jobs, pool):
    servant = pool.servant("a")
    with pytest.raises(CellFailed, match=r"^The result cannot be received: "):
        servant.call(jobs.fail, "unloadable")
    assert servant.call(jobs.square, 3) == 9


def test_calls_of_several_threads_are_answered_one_after_another(jobs, pool):
    servant, found = pool.servant("a"), []
    threads = [threading.Thread(target=lambda n=n: found.append(servant.call(jobs.square, n))) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 4, 9, 16]


def test_a_servant_ends_with_its_pool_whatever_it_does(jobs, started, tmp_path):
    lock, said = str(tmp_path / "lock"), []
    with LocalProcesses(1).pool() as pool:
        servant = pool.servant("a")

        def ask():
            try:
                servant.call(jobs.hold, lock)
            except WorkerDied as error:
                said.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        jobs.wait_until(lambda: not jobs.is_free(lock))
    thread.join()
    assert jobs.is_free(lock)
    assert len(said) == 1
    with pytest.raises(WorkerDied, match=r"^The run has ended\.$"):
        servant.call(jobs.square, 1)
