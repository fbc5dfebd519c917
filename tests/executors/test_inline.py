import pytest

from privbench.errors import CannotWrite, CellFailed, DataError, NotMade
from privbench.executors import Call, inline


def square(job, port):
    port(0.5, "squaring")
    return job * job


def fail(job, port):
    raise job


def ask(job, port):
    return port.ask(job)


def pooled(*calls, on_progress=None):
    with inline.Inline().pool(on_progress) as pool:
        assert [pool.submit(call) for call in calls] == list(range(len(calls)))
        return list(pool.outcomes())


def test_calls_run_in_order_those_first_that_are_to_be():
    heard = []
    calls = [Call(square, 2), Call(square, 3, first=True), Call(square, 4)]
    found = pooled(*calls, on_progress=lambda *told: heard.append(told))
    assert [(outcome.index, outcome.job, outcome.result) for outcome in found] == [(1, 3, 9), (0, 2, 4), (2, 4, 16)]
    assert heard == [(1, 0.5, "squaring"), (0, 0.5, "squaring"), (2, 0.5, "squaring")]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DataError("no such data"), DataError, "no such data"),
        (ValueError("two\nlines"), CellFailed, "ValueError: two lines"),
        (SystemExit(3), CellFailed, "SystemExit: 3"),
    ],
)
def test_errors_are_in_outcomes(error, kind, text):
    failed, fine = pooled(Call(fail, error), Call(square, 2))
    assert (type(failed.error), str(failed.error)) == (kind, text)
    assert fine.result == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CannotWrite("disk full")])
def test_what_ends_a_run_ends_it(error):
    with pytest.raises(type(error)):
        pooled(Call(fail, error), Call(square, 2))


def test_cancelled_calls_are_not_run():
    with inline.Inline().pool() as pool:
        for _ in range(3):
            pool.submit(Call(square, 2))
        outcomes = pool.outcomes()
        next(outcomes)
        pool.cancel([0, 2], why := NotMade("no use"))
        assert {outcome.index: outcome.error for outcome in outcomes} == {1: None, 2: why}


def test_questions_are_answered_here():
    right, nobody = pooled(Call(ask, 2, answer=lambda request: request + 1), Call(ask, 2))
    assert right.result == 3
    assert str(nobody.error) == "this call has nobody to ask."


def test_servants_are_this_process():
    with inline.Inline().pool() as pool:
        assert pool.servant("a").call(square, 3) == 9
        with pytest.raises(DataError):
            pool.servant("a").call(fail, DataError("no"))
