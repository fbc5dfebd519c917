"""Conversion of Python data to NumPy arrays: lists, data frames, tensors; values and precision are preserved.

Neither torch nor pandas nor SciPy is imported: their objects exist only if the library is already loaded.
"""

from __future__ import annotations

import contextlib
import numbers
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array

NUMERIC = "biuf"
EXACT = 2**53
"""Limit beyond which float64 cannot represent every integer."""


def as_array(value: Any, name: str) -> Array:
    """Return booleans, integers, floats or texts as an array of the same values, in native byte order.

    value: an array, a list, a pandas, polars or SciPy object, a tensor on any device, of any type, with or without grad
    name: name of the value in messages

    NaN and infinity pass and are left to the caller; a missing integer, boolean or text is refused. Raises DataError
    for anything else: complex numbers, dates, rows of different lengths, mixtures of texts and numbers, objects.
    """
    try:
        return _plain(_unwrapped(value, name), name)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # errors of libraries for unsupported values
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} ({type(value).__name__}) cannot be read as an array: {text[:200]}") from None


def columns_of(value: Any) -> list[Any]:
    """Return the column names of a pandas or polars data frame; none for any other object."""
    return list(value.columns) if _is(value, "pandas", "DataFrame") or _is(value, "polars", "DataFrame") else []


def are_shuffled(first: Any, second: Any) -> bool:
    """Return whether two pandas objects have the same index in different orders, so that their rows may not match.

    An index that only counts the rows is no evidence of that.
    """
    if not all(_is(each, "pandas", "DataFrame", "Series") for each in (first, second)):
        return False
    one, other = first.index, second.index
    if any(_is(index, "pandas", "RangeIndex") for index in (one, other)) or one.equals(other):
        return False
    return len(one) == len(other) and one.is_unique and bool(one.isin(other).all())


def _unwrapped(value: Any, name: str) -> Array:
    """Return the content of a library's object as an array, possibly of objects."""
    if np.ma.is_masked(value):
        masked = int(np.ma.getmaskarray(value).sum())
        raise DataError(f"{name} has {masked} masked values; fill them, or leave those examples out.")
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if _is(value, "torch", "Tensor"):
        return _tensor(value)
    if _is(value, "pandas", "DataFrame"):
        return _frame(value, name)
    if _is(value, "pandas", "Series", "Index", "Categorical"):
        return _series(value, name)
    if isinstance(value, (list, tuple)):
        return _sequence(value, name)
    if isinstance(value, (dict, set, frozenset, str, bytes)):
        raise DataError(f"{name} is a {type(value).__name__}; expected an array, a list, a data frame or a tensor.")
    # polars, JAX and others implement the conversion to arrays; SciPy's sparse arrays have a method for it.
    return np.asarray(value.toarray() if _is(value, "scipy.sparse", "sparray", "spmatrix") else value)


def _is(value: object, module: str, *names: str) -> bool:
    """Return whether a value has one of the given types of a library, without importing the library."""
    library = sys.modules.get(module)
    return library is not None and isinstance(value, tuple(getattr(library, name) for name in names))


def _tensor(value: Any) -> Array:
    """Return the numbers of a tensor; types that NumPy lacks are converted to float32, which holds all their values."""
    value = value.detach()
    value = value.dequantize() if value.is_quantized else value
    value = value.to_dense() if str(value.layout) != "torch.strided" else value
    value = value.cpu().resolve_conj().resolve_neg()
    narrow = value.is_floating_point() and str(value.dtype) not in {"torch.float16", "torch.float32", "torch.float64"}
    return np.asarray((value.float() if narrow else value).numpy())


def _frame(value: Any, name: str) -> Array:
    """Return the columns of a data frame as one array."""
    columns = [as_array(value.iloc[:, i], f"{name}, column {column!r}") for i, column in enumerate(value.columns)]
    if not columns:
        return np.empty(value.shape)
    words = [str(c) for c, column in zip(value.columns, columns, strict=True) if column.dtype.kind not in NUMERIC]
    if words and len(words) < len(columns):
        listing = ", ".join(map(repr, words[:10]))
        verb = "holds" if len(words) == 1 else "hold"
        raise DataError(f"{name}: column {listing} {verb} no numbers, but the others do; give columns of one kind.")
    return _joined(columns, name, axis=1)


def _series(value: Any, name: str) -> Array:
    """Return a column; missing values become NaN in floats, and are refused in other types."""
    pandas = sys.modules["pandas"]
    if isinstance(value, pandas.Categorical):
        value = pandas.Series(value)
    missing = int(value.isna().sum())
    if isinstance(value.dtype, pandas.CategoricalDtype):
        codes = np.asarray(value.cat.codes if isinstance(value, pandas.Series) else value.codes)
        _complete(missing, name)
        return as_array(value.dtype.categories, name)[codes] if len(codes) else np.empty(0, dtype=np.int64)
    if isinstance(value.dtype, np.dtype):
        return np.asarray(value)
    if value.dtype.kind == "f":
        narrow = value.dtype.name.lower().startswith(("float32", "float["))
        return np.asarray(value.to_numpy(dtype=np.float32 if narrow else np.float64, na_value=np.nan))
    _complete(missing, name)
    return np.asarray(value.to_numpy(dtype=object))


def _complete(missing: int, name: str) -> None:
    if missing:
        raise DataError(f"{name}: {missing} values are missing; fill them, or leave those examples out.")


def _sequence(value: Sequence[Any], name: str) -> Array:
    """Return a list: of numbers or texts, of lists, or of arrays, tensors or columns of one shape."""
    plain = (numbers.Number, np.generic, str, bytes, list, tuple, type(None))
    if value and not all(isinstance(each, plain) for each in value):
        return _joined([_plain(_unwrapped(each, name), name, axes=0) for each in value], name, axis=0)
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        array = np.asarray(value)
        # NumPy makes texts of numbers beside texts, and rounds integers beside floats; those take a closer look.
        if array.dtype.kind in "biu" or (array.dtype.kind == "f" and not (np.abs(array) > EXACT).any()):
            return array
    if any(isinstance(each, (list, tuple)) for each in value):
        return _joined([_plain(_unwrapped(each, name), name, axes=0) for each in value], name, axis=0)
    return np.asarray(value, dtype=object)


def _joined(parts: list[Array], name: str, axis: int) -> Array:
    """Return arrays of one shape as a single array, of a type that can represent all their values."""
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        listing = ", ".join(map(str, sorted(shapes)[:3]))
        raise DataError(f"{name} has parts of different shapes, {listing}; expected all of one length.")
    joined = np.stack(parts, axis=axis)
    if joined.dtype.kind == "f" and any(_is_inexact(part) for part in parts):
        raise DataError(f"{name} mixes floats with integers beyond 2**53, which float64 rounds; give one kind.")
    return joined


def _is_inexact(part: Array) -> bool:
    """Return whether float64 cannot represent some of these integers."""
    return part.dtype.kind in "iu" and bool(((part > EXACT) | (part < -EXACT)).any())


def _plain(array: Array, name: str, axes: int = 1) -> Array:
    """Return an array of booleans, numbers or texts, with at least `axes` axes; objects get their common type."""
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.dtype.kind == "O":
        array = _of_objects(array, name)
    if array.dtype.kind == "V" and array.dtype.names is None and np.can_cast(array.dtype, np.float32):
        array = array.astype(np.float32)  # bfloat16 and narrower types of JAX
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind not in NUMERIC + "U":
        raise DataError(f"{name} is {array.dtype}; expected numbers, True and False, or texts.")
    if array.ndim < axes:
        raise DataError(f"{name} is a single value; expected one per example.")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _of_objects(array: Array, name: str) -> Array:
    """Return an array of Python objects as booleans, integers, floats or texts, if they are all of one kind."""
    values = array.ravel().tolist()
    if not array.ndim:
        raise DataError(f"{name} is a {type(values[0]).__name__}; expected an array, a list, a data frame or a tensor.")
    if all(isinstance(value, (list, tuple, np.ndarray)) for value in values):
        return _sequence(values, name)  # a row in each cell
    kinds = {_kind(value) for value in values}
    if "missing" in kinds:
        _complete(sum(_kind(value) == "missing" for value in values), name)
    if kinds <= {"number", "integer"} and len(kinds) > 1:
        if any(_kind(value) == "integer" and abs(value) > EXACT for value in values):
            raise DataError(f"{name} mixes floats with integers beyond 2**53, which float64 rounds; give one kind.")
        kinds = {"number"}
    if len(kinds) != 1 or "other" in kinds:
        found = ", ".join(sorted({type(value).__name__ for value in values})[:5])
        raise DataError(f"{name} holds objects ({found or 'none'}); expected numbers, or texts, of one kind.")
    if kinds == {"integer"}:
        wide = np.uint64 if min(values) >= 0 and max(values) > np.iinfo(np.int64).max else np.int64
        if min(values) < np.iinfo(wide).min or max(values) > np.iinfo(wide).max:
            raise DataError(f"{name} holds integers of more than 64 bits; scale them, or leave them out.")
        return np.array(values, dtype=wide).reshape(array.shape)
    kind = {"boolean": np.bool_, "number": np.float64, "text": np.str_}[kinds.pop()]
    return np.array(values, dtype=kind).reshape(array.shape)


def _kind(value: Any) -> str:
    """Return the kind of one Python object. NaN is a number; None and pandas' markers are missing."""
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    if isinstance(value, (str, bytes)):
        return "text" if isinstance(value, str) else "other"
    if isinstance(value, (int, np.integer)):
        return "integer"
    if isinstance(value, (numbers.Real, np.floating)) or type(value).__name__ == "Decimal":
        return "number"
    return "missing" if value is None or type(value).__name__ in {"NAType", "NaTType"} else "other"
