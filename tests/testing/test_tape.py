import torch

from privbench.learn.steps import Steps
from privbench.testing.tape import taped


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
