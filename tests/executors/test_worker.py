import pytest

from privbench.errors import CellFailed, DataError, PrivbenchError
from privbench.executors.worker import is_worker, portable


class Own(PrivbenchError):  # noqa: N818
    """An error that pickle cannot rebuild."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


def caught(error):
    try:
        raise error
    except type(error) as raised:
        return portable(raised)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DataError("no such data"), DataError, "no such data"),
        (Own("one", "two"), CellFailed, "one and two"),
        (ValueError("several\n lines"), CellFailed, "ValueError: several lines"),
        (KeyboardInterrupt(), CellFailed, "KeyboardInterrupt"),
    ],
)
def test_errors_are_sent_in_one_line_with_their_traceback(error, kind, text):
    sent = caught(error)
    assert (type(sent), str(sent)) == (kind, text)
    [trace] = sent.__notes__
    assert "in caught" in trace


def test_this_is_no_worker_but_its_processes_are(jobs):
    from privbench.executors.local import LocalProcesses

    assert not is_worker()
    [outcome] = LocalProcesses(1).run(jobs.starts_workers, [1])
    assert str(outcome.error).startswith("A worker starts no workers: ")


def test_progress_is_throttled_clipped_and_named(jobs):
    from privbench.executors.local import LocalProcesses

    heard = []
    run = LocalProcesses(1).run(jobs.chatter, [100_000, 3], on_progress=lambda *args: heard.append(args))
    found = sorted(run, key=lambda outcome: outcome.index)
    assert [o.error for o in found] == [None, None]
    for index in range(2):
        mine = [(done, stage) for i, done, stage in heard if i == index]
        assert mine[0] == (0.0, "step 0")
        assert (1.0, "over") in mine
        assert len(mine) < 5 * found[index].seconds + 2
        assert all(0 <= done <= 1 for done, _ in mine)
