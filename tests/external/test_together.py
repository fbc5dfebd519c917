import numpy as np
import pytest

from privbench.errors import DataError
from privbench.external.reading import OneSet
from privbench.external.together import copies, exact, together

RNG = np.random.default_rng(0)
FLOATS = RNG.normal(size=(30, 3))


def compared(real, synthetic, holdout):
    """Return the three sets, and what is said of copies."""
    given = zip(("real", "synthetic", "holdout"), (real, synthetic, holdout), strict=True)
    found, notes = together([OneSet(name, x) for name, x in given])
    warnings, said = copies(*found)
    return found, warnings, [*notes, *said]


def named(rows, names="abc"):
    return {name: np.ascontiguousarray(column) for name, column in zip(names, rows.T, strict=True)}


def test_exact():
    x = np.array([[0.0, 1], [2, 3], [4, 5]], dtype=np.float32)
    among = np.array([[4, 5], [-0.0, 1], [4, 5], [2, 4]], dtype=np.float32)
    assert exact(x, among).tolist() == [True, False, True]
    assert exact(among, among).all()


ORDER = RNG.permutation(90)
DIFFERENT = {
    "int64": lambda k: (1_700_000_000 + 7 * k)[:, None],
    "int64 beyond float64": lambda k: (2**60 + k)[:, None],
    "uint64 beyond int64": lambda k: (np.uint64(2**63) + k.astype(np.uint64))[:, None],
    "float64": lambda k: np.column_stack([1 + 1e-10 * k, np.ones(len(k))]),
    "named": lambda k: {"id": 2**60 + k, "one": np.ones(len(k))},
}


@pytest.mark.parametrize("make", DIFFERENT.values(), ids=DIFFERENT)
def test_rows_that_differ_in_their_last_digits_are_no_copies_and_stay_apart(make):
    found, warnings, notes = compared(*(make(ORDER[part]) for part in np.split(np.arange(90), 3)))
    assert warnings == notes == []
    whole = np.concatenate([each.x for each in found])
    assert whole.dtype == np.float32
    values = whole[:, 0].astype(np.float64)
    np.testing.assert_array_equal(np.argsort(values), np.argsort(ORDER))
    gaps = np.diff(np.sort(values))
    np.testing.assert_allclose(gaps / gaps.mean(), 1, rtol=1e-3)


def test_distances_do_not_mind_the_shift():
    rows = np.column_stack([1.7e9 + FLOATS[:, 0], FLOATS[:, 1:]])
    (real, synthetic, _), _, _ = compared(rows[:10], rows[10:20], rows[20:])
    right = np.linalg.norm(rows[:10] - rows[10:20], axis=1)
    np.testing.assert_allclose(np.linalg.norm(real.x - synthetic.x, axis=1), right, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (np.float64, "published bit for bit"),
        (np.int64, "published in every number"),
        (np.float32, "published when all are rounded to float32"),
    ],
)
def test_copies_are_called_what_they_are(kind, how):
    real = np.round(FLOATS * 100) if kind is np.int64 else FLOATS
    _, _, (note,) = compared(real[:20], real[:8].astype(kind), real[20:])
    assert note.startswith(f"8 of 20 real examples are {how}: exact copies")
    assert "(of 10 held-out examples: 0)" in note


def test_repeated_synthetic_examples_are_said():
    _, (warning,), _ = compared(FLOATS[:10], np.repeat(FLOATS[20:21], 300, axis=0), FLOATS[10:])
    assert warning.startswith("the synthetic set holds 1 distinct example among 300: its generator collapsed")
    _, warnings, notes = compared(FLOATS[:10], np.concatenate([FLOATS + 1, FLOATS[:1] + 1]), FLOATS[10:])
    assert (warnings, notes) == ([], ["The synthetic set holds 30 distinct examples among 31."])


def test_columns_are_matched_by_name():
    parts = np.split(FLOATS, 3)
    expected, _, _ = compared(*parts)
    swapped = dict(reversed(named(parts[1]).items()))
    found, _, notes = compared(named(parts[0]), swapped, named(parts[2]))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.exact, other.exact)
    assert found[0].columns == ("a", "b", "c")
    assert notes == []


def test_columns_without_names_are_taken_in_order():
    parts = np.split(FLOATS, 3)
    expected, _, _ = compared(*parts)
    found, _, notes = compared(named(parts[0]), named(parts[1], "012"), parts[2])
    np.testing.assert_array_equal(found[1].x, expected[1].x)
    assert notes == [
        "The columns of the synthetic and holdout examples have no names: they are taken to be in the same order."
    ]
    unnamed, _, notes = compared(named(parts[0], "012"), parts[1], named(parts[2], "012"))
    np.testing.assert_array_equal(unnamed[2].x, expected[2].x)
    assert notes == []


def test_a_column_that_counts_the_rows_is_left_out_of_all_sets():
    parts = np.split(FLOATS, 3)
    real, synthetic = ({"id": np.arange(10), **named(part)} for part in parts[:2])
    synthetic["id"] = RNG.permutation(1000)[:10]
    found, _, notes = compared(real, synthetic, named(parts[2]))
    assert [each.x.shape for each in found] == [(10, 3)] * 3
    assert notes == ["Column 'id' counts the rows, and is left out."]
    shuffled = {"Unnamed: 0": RNG.permutation(10), **named(parts[0])}
    assert compared(shuffled, named(parts[1]), named(parts[2]))[0][0].columns == ("a", "b", "c")
    assert compared({"id": np.arange(10)}, {"id": np.arange(10)}, {"id": np.arange(10)})[0][0].x.shape == (10, 1)


UNLIKE = {
    "missing": (named(FLOATS), named(FLOATS[:, :2], "ab"), "synthetic has no column 'c', which real has."),
    "misspelt": (named(FLOATS, ("age", "dose", "sex")), named(FLOATS, ("age", "does", "sex")), "Did you mean 'does'?"),
    "more": (named(FLOATS[:, :2], "ab"), named(FLOATS), "synthetic has a column 'c', which real lacks; leave it out"),
    "width": (named(FLOATS), FLOATS[:, :2], "synthetic has 2 columns without names, the others have 3; name them."),
    "unnamed width": (FLOATS, named(FLOATS[:, :2], "01"), "synthetic has inputs of shape (2,), real of (3,)"),
    "table and images": (FLOATS, np.zeros((4, 5, 5)), "synthetic has inputs of shape (5, 5), real of (3,)"),
    "named table and images": (named(FLOATS), np.zeros((4, 5, 5)), "synthetic has 0 columns without names"),
    "too large": (FLOATS * 1e300, FLOATS, "column '0' runs from"),
}


@pytest.mark.parametrize(("real", "synthetic", "said"), UNLIKE.values(), ids=UNLIKE)
def test_sets_that_cannot_be_compared(real, synthetic, said):
    with pytest.raises(DataError) as caught:
        together([OneSet("real", real), OneSet("synthetic", synthetic)])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
