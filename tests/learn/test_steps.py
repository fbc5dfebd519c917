import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from privbench.learn import steps as module
from privbench.learn.drawing import Dropout, lent
from privbench.learn.graphs import Watch
from privbench.learn.steps import Steps, rates, set_rate
from privbench.testing.tape import one_by_one, taped


@pytest.fixture
def name(request):
    """A name for a loop that no other test uses: what is said of a loop is said once in a process."""
    return request.node.name


class Walk:
    """A total that grows by a number and a row of each step."""

    def __init__(self, device="cpu"):
        self.total = torch.zeros(3, device=device)

    def __call__(self, rate, row):
        self.total.add_(row * rate)


NUMBERS, ROWS = torch.arange(10.0), torch.arange(30.0).view(10, 3)


def test_a_step_gets_a_row_of_each_table():
    walk = Walk()
    Steps("cpu", "walk").run(walk, NUMBERS, ROWS)
    assert walk.total.tolist() == (NUMBERS[:, None] * ROWS).sum(0).tolist()


def test_on_a_cpu_rates_are_numbers_as_they_were_given():
    seen = []
    Steps("cpu", "walk").run(seen.append, rates([0.1, 0.3], torch.device("cpu")))
    assert seen == [0.1, 0.3]


def test_no_steps_are_none():
    Steps("cpu", "walk").run(pytest.fail, torch.zeros(0))


@pytest.mark.parametrize("runs", [[10], [1] * 10, [4, 6], [2, 3, 5]])
def test_replays_go_on_where_the_steps_before_them_ended(runs, device):
    walk = Walk(device)
    with taped(device) as tape:
        steps = Steps(device, "walk")
        for numbers, rows in zip(NUMBERS.to(device).split(runs), ROWS.to(device).split(runs), strict=True):
            steps.run(walk, numbers, rows)
    assert walk.total.tolist() == (NUMBERS[:, None] * ROWS).sum(0).tolist()
    assert tape.replayed > 0


def test_small_steps_are_recorded_several_together(device):
    walk = Walk(device)
    with taped(device) as tape:
        Steps(device, "walk").run(walk, torch.ones(1000, device=device), torch.ones(1000, 3, device=device))
    assert walk.total.tolist() == [1000.0] * 3
    assert tape.recorded == 2
    assert tape.replayed < 100


def test_every_kind_of_step_is_recorded_by_itself(device):
    log, total = [], torch.zeros(1, device=device)

    def step(row):
        log.append(parity)
        total.add_(row.sum() if parity else -row.sum())

    with taped(device) as tape:
        steps = Steps(device, "kinds")
        for parity in (0, 1, 0, 1):
            steps.run(step, torch.ones(6, 2, device=device), phase=parity)
            steps.run(step, torch.ones(6, 3, device=device), phase=parity)
    assert total.item() == 0.0
    assert tape.recorded >= 4


def test_an_optimiser_s_first_step_its_rates_and_dropout_are_replayed(device):
    def weights():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 2)).to(device)
        generator, data = torch.Generator(device).manual_seed(1), torch.randn(20, 6, 4).to(device)
        optimiser = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9, fused=True)

        def step(rate, x):
            set_rate(optimiser, rate)
            for weight in net.parameters():
                weight.grad = None
            net(x).square().mean().backward()
            optimiser.step()

        with lent(net, generator):
            steps = Steps(device, "net", generators=[generator])
            steps.run(step, rates([1 / n for n in range(1, 21)], data.device), data)
        return [value.tolist() for value in net.state_dict().values()]

    with torch.random.fork_rng():
        with one_by_one():
            plain = weights()
        with taped(device) as tape:
            assert weights() == plain
    assert tape.replayed > 0


# What cannot be recorded


def looks(total, row):
    total.add_(row.sum().item())


def branches(total, row):
    if row.sum() > 0:
        total.add_(row.sum())


def selects(total, row):
    total.add_(row[row > 0].sum())


def searches(total, row):
    total.add_(row[row.nonzero()[:, 0]].sum())


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (looks, "it asks for a tensor's value"),
        (branches, "it asks for a tensor's value"),
        (selects, "it selects by booleans"),
        (searches, "it selects by booleans"),
    ],
)
def test_steps_that_look_are_run_one_by_one_and_that_is_said_once(step, why, caplog, device, name):
    total = torch.zeros((), device=device)
    caplog.set_level(logging.WARNING)
    with taped(device) as tape:
        for _ in range(2):
            Steps(device, name).run(lambda row: step(total, row), torch.ones(8, 3, device=device))
    assert total.item() == 48
    assert tape.recorded == 0
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{name}: each step is launched by itself")
    assert why in caplog.messages[0]


def test_a_tensor_that_is_kept_in_python_is_noticed(caplog, device, name):
    class Average:
        value = torch.zeros(3, device=device)

        def __call__(self, row):
            self.value = 0.9 * self.value + row

    average, rows = Average(), torch.ones(8, 3, device=device)
    with taped(device) as tape:
        Steps(device, name).run(average, rows)
    assert tape.recorded == 0
    assert average.value.tolist() == pytest.approx([sum(0.9**k for k in range(8))] * 3)
    assert "keeps a tensor for the next step" in caplog.text


def test_tensors_without_elements_are_not_taken_for_one_that_is_kept():
    total = torch.zeros(3)

    def step(row, nothing):
        total.add_(row + torch.cat([nothing, row[:0].clone()]).sum())

    with taped() as tape:
        Steps("cpu", "nothing").run(step, torch.ones(8, 3), torch.ones(8, 0))
    assert total.tolist() == [8, 8, 8]
    assert tape.replayed > 1


def test_a_number_of_python_s_that_changes_is_noticed(caplog, device, name):
    total, counted = torch.zeros((), device=device), []

    def step(row):
        counted.append(0)
        total.add_(row.sum() * len(counted))

    with taped(device) as tape:
        Steps(device, name).run(step, torch.ones(8, 1, device=device))
    assert tape.replayed == 1  # only to be compared
    assert "a replay of it differs" in caplog.text


def test_what_changes_from_step_to_step_is_noticed(caplog, name):
    totals, turn = [torch.zeros(()), torch.zeros(()), torch.zeros(())], []

    def step(row):
        turn.append(0)
        totals[len(turn) % 3].add_(row.sum())

    with taped():
        Steps("cpu", name).run(step, torch.ones(9, 1))
    assert [each.item() for each in totals] == [3, 3, 3]
    assert "it changes other tensors than the step before" in caplog.text


def test_a_recorder_that_fails_leaves_the_steps_as_they_are(monkeypatch, caplog, name):
    def failing(_steps, _generators):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setitem(module.RECORDERS, "cpu", failing)
    walk = Walk()
    Steps("cpu", name).run(walk, NUMBERS, ROWS)
    assert walk.total.tolist() == (NUMBERS[:, None] * ROWS).sum(0).tolist()
    assert "it cannot be recorded: operation not permitted" in caplog.text


def test_a_loop_that_says_why_is_run_one_by_one(caplog, name):
    walk = Walk()
    with taped() as tape:
        Steps("cpu", name, eager="its batches have another size each").run(walk, NUMBERS, ROWS)
    assert tape.recorded == 0
    assert "its batches have another size each" in caplog.text


def test_without_a_recorder_nothing_is_said(caplog, name):
    Steps("cpu", name, eager="its batches have another size each").run(Walk(), NUMBERS, ROWS)
    assert not caplog.messages


def test_steps_with_double_backward_are_replayed(device):
    def slopes():
        weight, goal = torch.ones(3, device=device, requires_grad=True), torch.ones(3, device=device)

        def step(x):
            x = x.requires_grad_()
            (slope,) = torch.autograd.grad((weight * x.square()).sum(), x, create_graph=True)
            (gradient,) = torch.autograd.grad(functional.mse_loss(slope, goal), weight)
            with torch.no_grad():
                weight.sub_(gradient, alpha=0.01)

        Steps(device, "slopes").run(step, torch.linspace(0, 1, 36).view(12, 3).to(device))
        return weight.tolist()

    with one_by_one():
        plain = slopes()
    with taped(device) as tape:
        assert slopes() == plain
    assert tape.replayed > 0


def test_only_the_kinds_that_were_used_last_stay_recorded():
    total = torch.zeros(())

    def step(row):
        total.add_(row.sum())

    with taped() as tape:
        steps = Steps("cpu", "kinds")
        for phase in range(20):
            steps.run(step, torch.ones(6, 2), phase=phase)
        recorded = tape.recorded
        steps.run(step, torch.ones(6, 2), phase=19)
        assert tape.recorded == recorded
        steps.run(step, torch.ones(6, 2), phase=0)
        assert tape.recorded > recorded
    assert total.item() == 22 * 12


def test_a_watched_step_holds_no_memory():
    watch = Watch(torch.device("cpu"))
    with watch:
        large = torch.ones(1) * torch.ones(1000)
        del large
    assert watch.made
    assert all(storage.expired() for storage in watch.made.values())


def test_numbers_are_put_by_booleans_without_a_look_and_values_with_one():
    total = torch.zeros(3)

    def number(row):
        total[row > 0] = 1.0

    def values(row):
        total[row > 0] = row[:3]

    with taped() as tape:
        Steps("cpu", "number").run(number, torch.ones(8, 3))
        assert not tape.refused
        Steps("cpu", "values").run(values, torch.ones(8, 3))
        assert "selects by booleans" in tape.refused[0]
