"""Digests are those of every earlier version: keys and records hold them."""

import hashlib

import numpy as np

from privbench.store.hashing import arrays_sha256, file_sha256, json_sha256, sha256

ZEROS = np.zeros(6, dtype=np.float32)


def test_parts_are_hashed_one_after_the_other(tmp_path):
    expected = hashlib.sha256("aé".encode() + b"b" + np.arange(3, dtype="<i4").tobytes()).hexdigest()
    assert sha256("aé", b"b", np.arange(3, dtype=">i4")) == expected
    (tmp_path / "file").write_bytes(b"ab")
    assert file_sha256(tmp_path / "file") == sha256("a", "b") == sha256("ab")


def test_layout_and_byte_order_change_nothing():
    table = np.arange(6.0).reshape(2, 3)
    assert sha256(np.asfortranarray(table)) == sha256(table) == hashlib.sha256(table.tobytes()).hexdigest()
    assert arrays_sha256([("a", ZEROS.astype(">f4"))]) == arrays_sha256([("a", ZEROS)])


def test_names_types_and_shapes_are_told_apart():
    arrays = [ZEROS, ZEROS.reshape(2, 3), ZEROS.astype(np.float64), ZEROS + 1, ZEROS[:0], ZEROS[:0].reshape(0, 3)]
    cases = [("a", each) for each in arrays] + [("b", ZEROS)]
    assert len({arrays_sha256([case]) for case in cases}) == len(cases)
    named = [("words", np.array(["x", "yz"])), ("flags", np.array([True])), ("number", np.array(2))]
    assert (
        arrays_sha256(named)
        == hashlib.sha256(
            b"".join(
                f"{name}{np.atleast_1d(each).dtype.str}{np.atleast_1d(each).shape}".encode() + each.tobytes()
                for name, each in named
            )
        ).hexdigest()
    )


def test_json_is_the_same_for_the_same_content():
    assert json_sha256({"b": [1.5, "é"], "a": None}) == json_sha256({"a": None, "b": (1.5, "é")})
    expected = hashlib.sha256(b'{"a":null,"b":[1.5,"\\u00e9"]}').hexdigest()
    assert json_sha256({"b": [1.5, "é"], "a": None}) == expected
