import math
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from privbench.stats import intervals

LAW = settings(deadline=None, derandomize=True, max_examples=60)


@LAW
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_an_estimate_always_holds_its_value(value, low, high):
    found = intervals.estimate(value, low, high, 3)
    assert found.low <= found.value <= found.high


def test_a_number_with_bounds_keeps_them_in_another_process():
    number = intervals.Bounded(-0.5, -1.0, math.inf, of=7)
    found = pickle.loads(pickle.dumps(number))
    assert (found, vars(found)) == (number, vars(number))
