"""Deterministic kernels of a card, which compute in full float32 precision."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """On a GPU, select deterministic float32 kernels; restore the process's settings, older and newer ones, afterwards.

    Of several threads, or nested blocks, the first one selects and the last one restores.

    torch has two ways to set the precision of float32: `allow_tf32` and `set_float32_matmul_precision`, and since 2.9
    `fp32_precision` of a backend or operation. It refuses the older ones if the newer ones differ. The newer ones are
    therefore cleared, which leaves the choice to the older ones.
    """
    if device.type != "cuda":
        yield
        return
    with _exactly.entered():
        yield


class _Exactly:
    """The settings of this process, and the number of blocks that want them to be exact."""

    def __init__(self) -> None:
        self._lock, self._blocks = threading.Lock(), 0
        self._settings = contextlib.ExitStack()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be exact inside the block."""
        with self._lock:
            if not self._blocks:
                self._settings.enter_context(_exact())
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._settings.close()


_exactly = _Exactly()


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    newer = _newer()
    words = [_cleared(setting) for setting in newer]
    convolutions, products = _allow_tf32(), torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
        for setting, word in zip(newer, words, strict=True):
            setting.fp32_precision = word


def _newer() -> list[Any]:
    """Return the objects with an `fp32_precision`, each before those that inherit it if they say "none".

    mkldnn has a separate one for matrix products, which the older setting changes too; mkldnn's own sets all of them.
    """
    backends = torch.backends
    if not hasattr(backends, "fp32_precision"):
        return []
    cudnn = backends.cudnn
    return [backends, cudnn, cudnn.conv, cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul]


def _cleared(setting: Any) -> str:
    """Return the value of a setting that is not inherited, and replace it by "none"."""
    word: str = setting.fp32_precision
    setting.fp32_precision = "none"
    return word


def _allow_tf32() -> bool:
    """Return cuDNN's older setting while the newer ones are cleared; torch refuses to read it if it is True."""
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return True
