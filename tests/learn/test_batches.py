import math

import pytest

from privbench.contracts.recipe import Recipe
from privbench.learn.batches import batch_sizes, lr_at


@pytest.mark.parametrize(
    ("n", "size", "drop_last", "sizes"),
    [
        (10, 4, False, [4, 4, 2]),
        (10, 4, True, [4, 4]),
        (9, 4, False, [4, 5]),
        (9, 4, True, [4, 4]),
        (8, 4, False, [4, 4]),
        (3, 4, True, [3]),
        (1, 4, False, [1]),
        (3, 1, False, [1, 1, 1]),
    ],
)
def test_batches_hold_each_example_once_and_are_never_single(n, size, drop_last, sizes):
    assert batch_sizes(n, size, drop_last=drop_last) == sizes


def test_schedules():
    def rates(**recipe):
        return [lr_at(Recipe(epochs=10, lr=1.0, **recipe), i, 2) for i in range(20)]

    assert rates(schedule="constant") == [1.0] * 20
    steps = rates(schedule="steps", milestones=(0.3, 0.6), gamma=0.1)
    assert steps == pytest.approx([1.0] * 6 + [0.1] * 6 + [0.01] * 8)
    cosine = rates(schedule="cosine")
    assert cosine == pytest.approx([(1 + math.cos(math.pi * i / 20)) / 2 for i in range(20)])
    warm = rates(schedule="cosine", warmup=2.0)
    assert warm[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warm[4] == 1.0
    assert warm[4:] == sorted(warm[4:], reverse=True)
    assert 0 < warm[-1] < 0.02
    assert max(rates(warmup=20.0)) < 1.0
