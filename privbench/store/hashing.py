"""SHA-256 of texts, arrays, files and JSON values: the digests in keys, manifests and records."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from privbench.aliases import Array

_CHUNK = 1 << 20


def sha256(*parts: str | bytes | Array) -> str:
    """Return the SHA-256 of parts, one after the other: texts in UTF-8, arrays little-endian and in C order."""
    state = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        state.update(content if isinstance(content, bytes) else _plain(content).reshape(-1).view("u1").data)
    return state.hexdigest()


def arrays_sha256(arrays: Iterable[tuple[object, Array]]) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes, whatever their byte order and layout."""
    plain = ((name, _plain(array)) for name, array in arrays)
    return sha256(*(part for name, array in plain for part in (f"{name}{array.dtype.str}{array.shape}", array)))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def json_sha256(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value: sorted names, no spaces, floats to the last bit."""
    return sha256(json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":")))


def _plain(array: Array) -> Array:
    """Return an array little-endian and in C order; as it is where it is so already."""
    import numpy as np

    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
