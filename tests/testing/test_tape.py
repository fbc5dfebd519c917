import torch

from privbench.learn.steps import Steps, recorded
from privbench.testing.tape import one_by_one, taped


def test_a_shape_that_changes_in_place_is_replayed_as_it_was():
    """torch.matmul of a vector and a matrix is one of them."""
    matrix, total = torch.arange(12.0).view(3, 4), torch.zeros(4)

    def step(row):
        total.add_(row @ matrix)
        total.add_(row.unsqueeze(0).mm(matrix).t_().squeeze_())

    rows = torch.arange(24.0).view(8, 3)
    with taped() as tape:
        Steps("cpu", "shapes").run(step, rows)
    assert total.tolist() == (2 * rows @ matrix).sum(dim=0).tolist()
    assert tape.replayed > 0


def test_one_by_one_a_loop_may_still_prepare_its_steps_for_replays():
    cpu, total = torch.device("cpu"), torch.zeros(3)
    assert not recorded(cpu)
    with taped() as tape:
        with one_by_one():
            assert not recorded(cpu)
        with one_by_one(as_recorded=True):
            assert recorded(cpu)
            Steps("cpu", "walk", eager="not said, for nothing is recorded").run(total.add_, torch.ones(8, 3))
        assert recorded(cpu)
    assert not recorded(cpu)
    assert total.tolist() == [8] * 3
    assert tape.recorded == 0
    assert not tape.refused
