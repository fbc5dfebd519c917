import contextlib
import threading
import time
import warnings

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from privbench.builtin import models
from privbench.builtin.models import dae
from privbench.errors import OnlyAlone
from privbench.learn import lanes
from privbench.learn.drawing import Dropout
from privbench.learn.lanes import Gate, Room, lane
from privbench.learn.steps import RECORDERS, Steps
from privbench.seeds import seeded
from privbench.testing.tape import one_by_one, taped

PATIENCE = 60


def together(*functions):
    """Run functions in threads; return what each returned, or raised."""
    found = {}

    def run(number, function):
        try:
            found[number] = function()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found[number] = error

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a lane waits for ever"
    return [found[number] for number in range(len(functions))]


# The gate


@pytest.mark.parametrize("threads", [1, 2, 12])
def test_whoever_is_by_itself_meets_nobody_and_nobody_waits_for_ever(threads):
    gate, at_work, met = Gate(), set(), []

    def work(number):
        for turn in range(20):
            with gate.shared():
                for step in range(5):
                    at_work.add(number)
                    time.sleep(0)
                    at_work.discard(number)
                    gate.pause()
                    if (number + turn + step) % 3 == 0:
                        with gate.exclusive():
                            at_work.add(number)
                            time.sleep(0.0002)
                            met.append(set(at_work))
                            at_work.discard(number)

    assert together(*(lambda number=number: work(number) for number in range(threads))) == [None] * threads
    assert len(met) > 20
    assert all(len(each) == 1 for each in met)


def test_nobody_enters_or_goes_on_while_another_is_by_itself():
    gate, order = Gate(), []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with gate.shared(), gate.exclusive():
            inside.set()
            assert leave.wait(PATIENCE)
            order.append("first")

    def second():
        with gate.shared():
            order.append("second")

    def main():
        assert inside.wait(PATIENCE)
        time.sleep(0.05)
        order.append("main")
        leave.set()

    assert together(first, lambda: inside.wait(PATIENCE) and second(), main)[0] is None
    assert order == ["main", "first", "second"]


def test_a_lane_that_ends_or_fails_lets_others_be_by_themselves():
    gate = Gate()

    def fails():
        with gate.shared(), gate.exclusive():
            raise ValueError("lost")

    def works():
        with gate.shared(), gate.exclusive():
            return "done"

    first, *others = together(fails, works, works)
    assert isinstance(first, ValueError)
    assert others == ["done", "done"]


def test_a_lane_that_is_not_admitted_waits_for_another_to_leave(monkeypatch):
    monkeypatch.setattr(lanes, "AGAIN", PATIENCE)
    gate, at_work, most = Gate(), set(), []

    def work(number):
        with gate.shared(lambda inside: inside < 2):
            at_work.add(number)
            most.append(len(at_work))
            time.sleep(0.01)
            at_work.discard(number)

    assert together(*(lambda number=number: work(number) for number in range(6))) == [None] * 6
    assert max(most) <= 2


def test_a_card_takes_a_further_lane_if_a_share_of_what_was_held_is_free(monkeypatch):
    free = [0.0]
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 40.0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 80.0))
    room, card = Room(), torch.device("cuda")
    assert room.admits(card, 0), "the first one has nobody to wait for"
    assert not room.admits(card, 1)
    free[0] = 50.0
    assert room.admits(card, 1)  # 1.25 x 40, which one lane has held
    free[0] = 24.0
    assert not room.admits(card, 2)
    free[0] = 25.0
    assert room.admits(card, 2)  # of two lanes that have held 40
    assert room.admits(card, 1)
    free[0] = 16.0
    assert not room.admits(card, 1)
    free[0] = 17.0
    assert room.admits(card, 1), "three lanes have held what fewer hold now"


# What a lane is


def test_only_a_thread_inside_of_a_lane_is_one():
    def work():
        with lane("cpu"):
            inside = lanes.inside()
        return inside, lanes.inside()

    assert together(work) == [(True, False)]
    assert not lanes.inside()
    with lanes.exclusive():
        lanes.pause()  # outside of lanes nobody waits


def test_lanes_record_their_steps_one_at_a_time_to_the_same_bits(monkeypatch):
    def total():
        net = nn.Linear(3, 2)
        with torch.no_grad():
            net.weight.fill_(0.5)
            net.bias.zero_()

        def step(row):
            net.weight.grad = None
            net(row).square().sum().backward()
            with torch.no_grad():
                net.weight.sub_(net.weight.grad, alpha=0.01)

        def work():
            with lane("cpu"):
                steps = Steps("cpu", "lanes")
                for rows in torch.linspace(-1, 1, 90).view(10, 3, 3):
                    steps.run(step, rows)
            return net.weight.tolist()

        return work

    with one_by_one():
        (want,) = together(total())
    at_once, most, lock = [0], [0], threading.Lock()
    with taped() as tape:
        record = RECORDERS["cpu"]

        def counted(steps, generators):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            time.sleep(0.002)
            replay = record(steps, generators)
            with lock:
                at_once[0] -= 1
            return replay

        with monkeypatch.context() as patched:
            patched.setitem(RECORDERS, "cpu", counted)
            assert together(*(total() for _ in range(6))) == [want] * 6
    assert tape.recorded >= 6
    assert not tape.refused
    assert most == [1]


# What does not run in lanes


class Mine(nn.Module):
    def forward(self, x):
        return x


REFUSED = {
    "dropout": lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)),
    "alpha dropout": nn.AlphaDropout,
    "2-D dropout": nn.Dropout2d,
    "RReLU": nn.RReLU,
    "random pooling": lambda: nn.FractionalMaxPool2d(2, output_size=2),
    "LSTM": lambda: nn.LSTM(2, 2, num_layers=2, dropout=0.5),
    "GRU": lambda: nn.GRU(2, 2, num_layers=2, dropout=0.5),
    "attention": lambda: nn.MultiheadAttention(4, 2, dropout=0.1),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2),
    "stochastic depth": lambda: StochasticDepth(0.1, "row"),
    "a class of somebody else's": Mine,
    "a class derived from torch's": type("Dropped", (nn.Dropout,), {"__module__": "privbench.mine"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_may_draw_from_global_generators_is_refused_in_a_lane_only(name):
    net = nn.Sequential(REFUSED[name]())
    lanes.check(net)
    with lane("cpu"), pytest.raises(OnlyAlone, match="cannot be trained beside other models: it "):
        lanes.check(net)


FINE = {
    "ours": lambda: Dropout(0.5),
    "LSTM": lambda: nn.LSTM(2, 2),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "dae_mlp": lambda: dae.build([(torch.ones(4, 9), torch.zeros(4))], 2, (3,)),
    **{name: lambda name=name: models.build(name, (3, 32, 32), 4) for name in models.NAMES},
}


@pytest.mark.parametrize("name", FINE)
def test_built_in_networks_are_not(name):
    with seeded(0, "test"):
        net = FINE[name]()
    with lane("cpu"):
        lanes.check(net)


def test_steps_while_generators_are_seeded_would_block_others_and_are_refused():
    with lane("cpu"), seeded(0, "test"), pytest.raises(OnlyAlone, match="while torch's global generators are seeded"):
        Steps("cpu", "seeded").run(pytest.fail, torch.ones(3))
    with seeded(0, "test"):
        Steps("cpu", "seeded").run(lambda row: None, torch.ones(3))


def test_what_is_drawn_while_generators_are_seeded_does_not_depend_on_other_threads():
    def draw(seed):
        found = []
        for turn in range(20):
            with seeded(seed, turn):
                found.append(torch.rand(3))
                time.sleep(0)
                found.append(torch.rand(3))
        return torch.cat(found).tolist()

    want = [draw(seed) for seed in range(6)]
    before = torch.random.get_rng_state()
    assert together(*(lambda seed=seed: draw(seed) for seed in range(6))) == want
    assert torch.equal(torch.random.get_rng_state(), before)


# On a card


class Card:
    """Stands for torch's functions of a card."""

    def __init__(self, monkeypatch):
        self.entered, self.emptied = [], 0
        for name in ("max_memory_reserved", "mem_get_info"):
            monkeypatch.setattr(
                torch.cuda, name, lambda device, name=name: 0.0 if name.startswith("max") else (1.0, 1.0)
            )
        monkeypatch.setattr(torch.cuda, "Stream", lambda card: object())
        monkeypatch.setattr(torch.cuda, "stream", self.stream)
        monkeypatch.setattr(torch.cuda, "empty_cache", self.empty)

    @contextlib.contextmanager
    def stream(self, stream):
        self.entered.append(stream)
        yield

    def empty(self):
        self.emptied += 1


def test_a_lane_on_a_card_has_a_stream_which_a_later_one_uses_again_and_leaves_its_memory(monkeypatch):
    card, barrier = Card(monkeypatch), threading.Barrier(3)
    lanes.stream_of.cache_clear()

    def work():
        with lane("cuda"):
            barrier.wait(PATIENCE)
            return lanes.stream(0)

    with warnings.catch_warnings():
        first, second = (together(work, work, work) for _ in range(2))
    lanes.stream_of.cache_clear()
    assert len(set(first)) == 3
    assert set(first) == set(second) == set(card.entered)
    assert card.emptied == 6


@pytest.mark.gpu
def test_lanes_have_streams_of_their_own_on_a_card():
    barrier = threading.Barrier(3)

    def work():
        with lane("cuda"):
            barrier.wait(PATIENCE)
            stream = torch.cuda.current_stream()
            same = stream == lanes.stream(0)
            barrier.wait(PATIENCE)
            return same, stream.cuda_stream

    found = together(work, work, work)
    assert [same for same, _ in found] == [True] * 3
    assert len({stream for _, stream in found}) == 3
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
