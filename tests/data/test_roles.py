"""Cuts and subsets: exact sizes, every class in proportion, the same at every call."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privbench.data import roles

labels = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@settings(deadline=None, max_examples=60)
@given(labels)
def test_a_cut_is_a_partition_with_each_class_in_proportion(y):
    parts = roles.cut(y, roles.TRAINING, "roles")
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(y)))
    for name, fraction in roles.TRAINING.items():
        assert abs(len(parts[name]) - fraction * len(y)) <= 1
        for label in np.unique(y):
            # a stretch of the stratified order holds each class to about one example on either side
            assert abs((y[parts[name]] == label).sum() - fraction * (y == label).sum()) < 2.5


@settings(deadline=None, max_examples=60)
@given(labels, st.data())
def test_a_balanced_subset_takes_as_many_of_each_class_as_there_are(y, data):
    count = data.draw(st.integers(0, len(y)))
    rows = roles.balanced(y, count, "limit")
    taken = np.bincount(y[rows], minlength=7)
    there = np.bincount(y, minlength=7)
    assert len(rows) == count == len(set(rows.tolist()))
    short = taken < there  # a class that is not used up has as many as any other, to one
    assert not short.any() or taken[short].min() >= taken.max() - 1


def test_a_smaller_subset_is_part_of_a_larger_one():
    y = np.arange(300) % 7
    small, large = (set(roles.balanced(y, count, "limit").tolist()) for count in (50, 120))
    assert small < large


def test_cuts_are_the_same_at_every_call_and_differ_by_purpose():
    y = np.arange(400) % 5
    assert np.array_equal(roles.stratified(y, "a"), roles.stratified(y, "a"))
    assert not np.array_equal(roles.stratified(y, "a"), roles.stratified(y, "b"))


def test_cuts_do_not_follow_the_order_of_the_file():
    pool = roles.cut(np.zeros(1000, int), roles.TRAINING, "roles")["pool"]
    assert np.median(pool) == pytest.approx(500, abs=40)
    assert len(np.setdiff1d(np.arange(850), pool)) > 50
