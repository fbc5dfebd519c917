"""Safe reader of CIFAR's published pickle files, without executing any code that a pickle requests.

docs/design.md, rule 9, allows no pickle from disk; these files exist in no other form. Only numbers, text, bytes,
lists, dictionaries and arrays of integers are rebuilt, the arrays by our own code; a pickle that names anything else is
refused before it is imported.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

INTEGERS = "bui"


class UnsafePickleError(ValueError):
    """A pickle that requests more than arrays of integers and builtins."""


class Kind:
    """Stand-in for numpy.dtype."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in INTEGERS:  # an array of objects could hold anything
            raise UnsafePickleError(f"it holds an array of {self.dtype}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class Content:
    """Stand-in for numpy.ndarray: `array` is set once the pickle has provided its bytes."""

    array: npt.NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, column_major, data = state
        raw = data.encode("latin1") if isinstance(data, str) else data
        self.array = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if column_major else "C")


def loads(data: bytes) -> Any:
    """Return the content of a pickle, its arrays as Content. Raises UnsafePickleError, or ValueError if unreadable."""
    try:
        return _Reader(io.BytesIO(data), encoding="latin1").load()
    except UnsafePickleError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged pickles raise almost anything
        raise ValueError(f"no readable pickle: {type(error).__name__}") from None


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return our stand-in for one of the few things that arrays are made of."""
        found = _STAND_INS.get((module, name))
        if found is None:
            raise UnsafePickleError(f"it asks for {module}.{name}")
        return found


def _reconstruct(*_arguments: object) -> Content:
    return Content()


def _encode(text: str, encoding: str) -> bytes:
    """Stand-in for codecs.encode, with which Python 3 writes bytes into old pickles."""
    if encoding != "latin1":
        raise UnsafePickleError(f"it asks for the codec {encoding}")
    return text.encode(encoding)


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): Content,
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): _encode,
}
