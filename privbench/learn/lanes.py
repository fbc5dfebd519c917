"""Lanes: threads of one process that each train a model, on the same card.

    with lane("cuda"):
        ...                                         # one training, beside those of other threads

A small network leaves most of a card idle, and a second process would need a context, and memory, of its own. Nothing
that a lane computes depends on the lanes beside it: each has a stream, and its random numbers come from generators of
its own, or from torch's global ones while they are seeded for it alone (`privbench.seeds`).

A recording tolerates no other work on the card. It therefore waits until all other lanes have ended or have come to a
pause, which is between two runs of steps, and holds them there until it is done.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

from privbench.errors import OnlyAlone
from privbench.learn.drawing import Drawing
from privbench.seeds import are_seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAPTURABLE = "This instance was constructed with capturable=True"
"""Beginning of torch's warning about a capturable optimiser outside a capture."""
KNOWN = ("torch.nn.", "torchvision.models.", "torchvision.ops.", "privbench.")
"""Prefixes of modules whose layers are known to draw no random numbers in training, except for those below."""
DRAWS = ("Dropout", "RReLU", "FractionalMaxPool", "StochasticDepth", "DropBlock")
"""Parts of the names of torch's and torchvision's layers that draw from torch's global generators."""
SPARE = 1.25
"""Memory that must be free for a further lane, relative to an equal share of the most that lanes have held at once."""
AGAIN = 1.0
"""Interval in seconds at which a waiting lane looks for free memory."""


class Gate:
    """Lets lanes work side by side, or one of them by itself while the others are at a pause."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = self._working = self._wanted = 0
        self._taken = False

    @contextlib.contextmanager
    def shared(self, admits: Callable[[int], bool] = lambda _: True) -> Iterator[None]:
        """Work beside others.

        admits: (number of lanes inside) -> whether a further one may enter; called while nothing is recorded
        """
        with self._changed:
            while self._wanted or not admits(self._inside):
                self._changed.wait(AGAIN)
            self._inside += 1
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._working -= 1
                self._changed.notify_all()

    def pause(self) -> None:
        """Wait while another lane wants to be, or is, by itself."""
        if self._wanted:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()
                self._return()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Work while all other lanes are at a pause; of several that want to, one after another."""
        with self._changed:
            self._wanted += 1
            self._working -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._working or self._taken))
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._wanted -= 1
                self._changed.notify_all()
                self._return()

    def _return(self) -> None:
        self._changed.wait_for(lambda: not self._wanted)
        self._working += 1


class _Here(threading.local):
    """The lane of a thread."""

    number: int | None = None


_gate, _here = Gate(), _Here()
_numbers: set[int] = set()
"""Numbers of the lanes that exist."""
_numbering = threading.Lock()


class Room:
    """The memory of a card, as far as lanes share it."""

    def __init__(self) -> None:
        self._most = 1

    def admits(self, device: torch.device, inside: int) -> bool:
        """Return whether a further lane fits beside others, by what they needed so far; the first one always does."""
        wanted = SPARE * torch.cuda.max_memory_reserved(device) / self._most
        if inside and torch.cuda.mem_get_info(device)[0] < wanted:
            return False
        self._most = max(self._most, inside + 1)
        return True


_room = Room()


@contextlib.contextmanager
def lane(device: str | torch.device) -> Iterator[None]:
    """Be one of several lanes of this process inside the block; on a card it may begin with a wait for free memory."""
    device = torch.device(device)
    card = device.type == "cuda"
    if card:
        _ignore_capturable()
    with (
        _gate.shared(functools.partial(_room.admits, device) if card else lambda _: True),
        _numbered(),
        torch.cuda.stream(stream(device.index or 0)) if card else contextlib.nullcontext(),
    ):
        try:
            yield
        finally:
            if card:
                torch.cuda.empty_cache()  # for other lanes, which do not use this one's blocks


def inside() -> bool:
    """Return whether this thread is a lane."""
    return _here.number is not None


def pause() -> None:
    """Let another lane record its steps, if it waits for that. Raises OnlyAlone where that would block others."""
    if inside():
        if are_seeded():
            raise OnlyAlone("Steps that run while torch's global generators are seeded cannot run beside other models.")
        _gate.pause()


def exclusive() -> contextlib.AbstractContextManager[None]:
    """Return the context of a recording: in a lane, all others are at a pause."""
    return _gate.exclusive() if inside() else contextlib.nullcontext()


def stream(card: int) -> torch.cuda.Stream:
    """Return the stream of this lane on a card, or that of all loops outside of lanes."""
    return stream_of(card, _here.number)


def check(net: nn.Module) -> None:
    """Raise OnlyAlone in a lane for a network that may draw from torch's global generators in training."""
    if inside():
        for module in net.modules():
            if why := _draws(module):
                raise OnlyAlone(f"{type(module).__qualname__} cannot be trained beside other models: {why}.")


def _draws(module: nn.Module) -> str:
    """Return why a layer may draw from torch's global generators, or an empty text."""
    kind = type(module)
    if isinstance(module, Drawing):
        return ""
    if not f"{kind.__module__}.".startswith(KNOWN):
        return "it may draw random numbers from torch's global generators"
    named = any(word in each.__name__ for each in kind.__mro__ for word in DRAWS)
    inner = isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and module.dropout > 0
    return "it draws random numbers from torch's global generators" if named or inner else ""


@contextlib.contextmanager
def _numbered() -> Iterator[None]:
    """Give this thread the smallest free number: libraries keep working memory for each stream that there ever was."""
    with _numbering:
        number = next(each for each in itertools.count() if each not in _numbers)
        _numbers.add(number)
    _here.number = number
    try:
        yield
    finally:
        _here.number = None
        with _numbering:
            _numbers.remove(number)


@functools.lru_cache(maxsize=64)
def stream_of(card: int, _lane: int | None) -> torch.cuda.Stream:
    """Return the stream of a lane with a number, or of what is in none."""
    return torch.cuda.Stream(card)


@functools.lru_cache(maxsize=1)
def _ignore_capturable() -> None:
    """Ignore a warning in the whole process: `warnings.catch_warnings` is not for threads."""
    warnings.filterwarnings("ignore", message=CAPTURABLE)
