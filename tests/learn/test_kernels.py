from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from privbench.learn import kernels
from privbench.learn.kernels import exact

CARD = torch.device("cuda")  # its settings can be made anywhere
BACKENDS = torch.backends
NEWER = (
    [BACKENDS, BACKENDS.cudnn, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul]
    if hasattr(BACKENDS, "fp32_precision")
    else []
)


def newer(name, word):
    *path, last = name.split(".")
    place = torch.backends
    for part in path:
        place = getattr(place, part)
    setattr(place, last, word)


CALLERS = {
    "nothing": [],
    "allow_tf32 of convolutions": [lambda: setattr(torch.backends.cudnn, "allow_tf32", False)],
    "allow_tf32 of products": [lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True)],
    "products in bfloat16": [lambda: torch.set_float32_matmul_precision("medium")],
    "the fastest kernels": [lambda: setattr(torch.backends.cudnn, "benchmark", True)],
    **{
        f"{name}={word}": [lambda name=name, word=word: newer(name, word)]
        for name in (
            "fp32_precision",
            "cudnn.fp32_precision",
            "cudnn.conv.fp32_precision",
            "cudnn.rnn.fp32_precision",
            "cuda.matmul.fp32_precision",
            "mkldnn.matmul.fp32_precision",
        )
        for word in ("ieee", "tf32")
    },
    "several newer ones": [
        lambda: newer("fp32_precision", "tf32"),
        lambda: newer("cudnn.conv.fp32_precision", "none"),
        lambda: newer("cuda.matmul.fp32_precision", "ieee"),
    ],
    "older and newer ones": [
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: newer("mkldnn.matmul.fp32_precision", "ieee"),
        lambda: newer("cudnn.conv.fp32_precision", "ieee"),
        lambda: setattr(torch.backends.cudnn, "allow_tf32", True),
        lambda: newer("cudnn.rnn.fp32_precision", "ieee"),
    ],
}
OLDER = {name: calls for name, calls in CALLERS.items() if "newer" not in name and "fp32" not in name}


@pytest.fixture(autouse=True)
def _own_settings():
    """Put torch's defaults back after a test."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()
    words = [each.fp32_precision for each in NEWER]
    yield
    cudnn.benchmark, cudnn.allow_tf32 = before[:2]
    torch.set_float32_matmul_precision(before[2])
    for each, word in zip(NEWER, words, strict=True):
        each.fp32_precision = word


def told(read):
    try:
        return read()
    except RuntimeError:
        return "torch refuses"


def settings():
    """All that torch tells of its settings, and what the newer ones say where they no longer follow each other."""
    backends = torch.backends
    cudnn = backends.cudnn
    flags = [cudnn.enabled, cudnn.benchmark, cudnn.deterministic]
    older = [lambda: cudnn.allow_tf32, lambda: backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision]
    words = []
    shown = [*flags, *map(told, older), *(each.fp32_precision for each in NEWER)]
    for each in NEWER:
        words.append(each.fp32_precision)
        each.fp32_precision = "none"
    cleared = list(map(told, older))
    for each, word in zip(NEWER, words, strict=True):
        each.fp32_precision = word
    return shown, words, cleared


@pytest.mark.parametrize("caller", CALLERS if NEWER else OLDER)
def test_float32_and_the_same_bits_whatever_a_caller_has_set_which_is_put_back(caller):
    for call in CALLERS[caller]:
        call()
    before = settings()
    with exact(CARD), exact(CARD):
        cudnn = torch.backends.cudnn
        assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (True, False, True, False)
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
        assert "tf32" not in {each.fp32_precision for each in NEWER}
        with cudnn.flags(enabled=False):  # as a loss with second derivatives of an RNN needs it
            assert not cudnn.enabled
    assert settings() == before
    with pytest.raises(KeyboardInterrupt), exact(CARD):
        raise KeyboardInterrupt
    assert settings() == before


def test_without_the_newer_settings_the_older_ones_suffice(monkeypatch):
    backends = SimpleNamespace(cudnn=torch.backends.cudnn)
    older = {name: getattr(torch, f"{name}_float32_matmul_precision") for name in ("get", "set")}
    older = {f"{name}_float32_matmul_precision": function for name, function in older.items()}
    monkeypatch.setattr(kernels, "torch", SimpleNamespace(backends=backends, **older))
    torch.set_float32_matmul_precision("medium")
    before = settings()
    with exact(CARD):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    assert settings() == before


def test_elsewhere_nothing_is_touched():
    before = settings()
    with exact(torch.device("cpu")):
        assert settings() == before


def test_of_several_threads_the_first_selects_and_the_last_puts_back():
    torch.backends.cudnn.benchmark = True
    before = settings()
    first, second = exact(CARD), exact(CARD)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(first.__enter__).result()
        chosen = settings()
        other.submit(second.__enter__).result()
        one.submit(first.__exit__, None, None, None).result()
        assert settings() == chosen
        assert not torch.backends.cudnn.benchmark
        other.submit(second.__exit__, None, None, None).result()
    assert settings() == before
