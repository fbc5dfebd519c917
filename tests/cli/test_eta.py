from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.cli.eta import Work


def test_jobs_of_one_kind_count_alike():
    work = Work("aaaa", [1.0] * 4)
    work.progress(0, 0.5)
    work.ended(1, 7.0)
    assert (work.fraction, work.begun) == (pytest.approx(1.5 / 4), 1.5)


def test_before_anything_ended_a_job_weighs_what_it_is_said_to_cost():
    work = Work("ab", [1.0, 9.0])
    work.progress(0, 1.0)
    assert work.fraction == pytest.approx(0.1)


def test_then_it_weighs_what_its_kind_took_and_others_follow():
    work = Work("aab", [1.0, 1.0, 10.0])
    work.ended(0, 2.0)  # so that b is expected to take 20
    assert work.fraction == pytest.approx(2 / 24)
    work.ended(2, 6.0)
    assert work.fraction == pytest.approx(8 / 10)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 50), st.floats(0, 1e3)), min_size=1, max_size=8))
def test_it_ends_at_one(jobs):
    work = Work([kind for kind, _, _ in jobs], [cost for _, cost, _ in jobs])
    for job, (_, _, seconds) in enumerate(jobs):
        assert 0 <= work.fraction < 1
        work.ended(job, seconds)
    assert work.fraction == pytest.approx(1)


def test_a_job_that_was_not_planned_changes_nothing():
    work = Work("", [])
    work.progress(0, 0.5)
    work.ended(0, 1.0)
    assert work.fraction == 1.0
