from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from privbench.contracts.answers import Answers, LogitStack

S, N, Q, C = 4, 5, 2, 3
STACKED = np.random.default_rng(0).normal(size=(S, N, Q, C)).astype(np.float32)
LABELS = np.zeros(N, dtype=np.int64)


def stack(arrays=STACKED):
    return LogitStack([Answers(lambda array=array: array, LABELS) for array in arrays])


def axis_key(size):
    ints = st.integers(-size, size - 1)
    bounds = st.none() | st.integers(-size - 1, size + 1)
    return st.one_of(
        ints,
        ints.map(np.int64),
        st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, -1])),
        st.lists(ints, min_size=1, max_size=4),
        st.lists(ints, max_size=4).map(lambda chosen: np.array(chosen, dtype=np.int64)),
        st.lists(st.booleans(), min_size=size, max_size=size).map(np.array),
    )


@st.composite
def keys(draw):
    parts = [draw(axis_key(size)) for size in (S, N, Q, C)[: draw(st.integers(0, 4))]]
    if draw(st.booleans()):  # `...` in the place of some axes, and keys from the end after it
        tail = [draw(axis_key(size)) for size in (Q, C)[draw(st.integers(0, 2)) :]]
        parts = [*parts[:2], Ellipsis, *tail]
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@given(keys())
@example((slice(None), [0, 1], slice(None), 1))
@example((0, slice(None), [1]))
@example((..., 0))
@example(np.arange(S * N).reshape(S, N) % 2 == 0)
@example((None, 0))
@example((slice(0, 0),))
@example((slice(None), 0, 0, 0))
@example((slice(None), 0, ..., 0, [0]))
def test_indexing_is_numpys(key):
    try:
        expected = STACKED[key]
    except IndexError:  # arrays that do not broadcast
        with pytest.raises(IndexError):
            stack()[key]
        return
    found = stack()[key]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    assert np.shape(found) == np.shape(expected)


@pytest.mark.parametrize("key", [0, (slice(None), 3), ([0, 2], 3), (0, [1, 2]), (..., 0), (1, [0, 1], ...)])
def test_usual_indices_read_no_more_than_they_need(key, monkeypatch):
    def everything(*_, **__):
        raise AssertionError("read everything")

    monkeypatch.setattr(LogitStack, "__array__", everything)
    np.testing.assert_array_equal(stack()[key], STACKED[key])


def test_a_stack_is_a_sequence_of_arrays():
    made = stack()
    assert (len(made), made.shape) == (S, (S, N, Q, C))
    np.testing.assert_array_equal(np.stack(list(made)), STACKED)
    np.testing.assert_array_equal(np.asarray(made), STACKED)
    assert np.asarray(made, dtype=np.float64).dtype == np.float64


def test_no_shadows_are_an_empty_stack():
    made = stack([])
    assert (len(made), made.shape, np.asarray(made).shape) == (0, (0,), (0,))
    with pytest.raises(IndexError):
        made[0]


def test_a_stack_is_not_given_without_copying():
    with pytest.raises(ValueError, match="without copying"):
        stack().__array__(copy=False)


def test_logits_are_read_only():
    array = STACKED.copy()
    answers = Answers(lambda: array, LABELS)
    with pytest.raises(ValueError, match="read-only"):
        answers.logits[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        LogitStack([answers])[0][0] = 1
    array[0] = 1  # the owner still may


def test_a_signal_is_computed_once_in_chunks_and_handed_out_read_only(monkeypatch):
    calls = []

    def margin(logits, labels):
        calls.append(len(logits))
        assert len(labels) == len(logits)
        return np.take_along_axis(logits, labels[:, None, None], axis=-1)[..., 0]

    monkeypatch.setattr("privbench.contracts.answers.CHUNK_BYTES", 2 * STACKED[0, :1].nbytes)
    answers = Answers(lambda: STACKED[0], LABELS)
    first, again = answers.signal(margin), answers.signal(margin)
    assert calls == [2, 2, 1]
    assert again is first
    assert first.dtype == np.float64
    np.testing.assert_array_equal(first, STACKED[0, :, :, 0])
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_a_signal_cannot_write_into_what_it_reads():
    def writer(logits, labels):
        labels[0] = 1
        return logits[..., 0]

    with pytest.raises(ValueError, match="read-only"):
        Answers(lambda: STACKED[0], LABELS.copy()).signal(writer)
