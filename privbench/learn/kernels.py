"""Kernels of a card that give the same bits every time, and compute in float32 where float32 is said."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """On a GPU, choose such kernels; the process's own settings, older and newer, are put back.

    torch has two ways to set the precision of float32: `allow_tf32` and `set_float32_matmul_precision`, and since 2.9
    `fp32_precision` of a backend or operation. It refuses the older ones where the newer ones differ. So the newer ones
    are cleared, which leaves the choice to the older ones.
    """
    if device.type != "cuda":
        yield
        return
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
    """Return what has an `fp32_precision`, each before those that follow it where they say "none".

    mkldnn has one of its own for matrix products, which the older setting moves too; mkldnn's own sets that of all.
    """
    backends = torch.backends
    if not hasattr(backends, "fp32_precision"):
        return []
    cudnn = backends.cudnn
    return [backends, cudnn, cudnn.conv, cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul]


def _cleared(setting: Any) -> str:
    """Return the word of a setting that follows no other one, and put "none" in its place."""
    word: str = setting.fp32_precision
    setting.fp32_precision = "none"
    return word


def _allow_tf32() -> bool:
    """Return cuDNN's older setting while the newer ones are cleared; torch refuses to tell it where it is True."""
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return True
