from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privbench.stats import signals

SIGNALS = [
    signals.correct,
    signals.phi,
    signals.log_confidence,
    signals.neg_entropy,
    signals.neg_modified_entropy,
]
LOGITS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 6)),
    elements=st.floats(-120, 120, width=32),
)


def exact(z, y):
    """All signals of one answer in 150-digit arithmetic."""
    with localcontext() as context:
        context.prec = 150
        e = [Decimal(float(v)).exp() for v in z]
        p = [v / sum(e) for v in e]
        not_p = [(sum(e) - v) / sum(e) for v in e]
        others = sum(p[i] * not_p[i].ln() for i in range(len(z)) if i != y)
        values = (
            Decimal(int(np.argmax(z) == y)),
            (p[y] / not_p[y]).ln(),
            p[y].ln(),
            sum(v * v.ln() for v in p),
            not_p[y] * p[y].ln() + others,
        )
        return [float(v) for v in values]


def one(function, z, y):
    return function(np.array(z, dtype=np.float32)[None, None], np.array([y]))[0, 0]


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, seed=st.integers(0, 9))
def test_every_signal_is_precise(logits, seed):
    n, queries, classes = logits.shape
    labels = np.random.default_rng(seed).integers(0, classes, n)
    got = np.stack([signal(logits, labels) for signal in SIGNALS], axis=-1)
    want = [[exact(logits[i, a], labels[i]) for a in range(queries)] for i in range(n)]
    # Relative to the value, down to the smallest double: no tie is made of two examples that are merely both sure.
    # phi is a difference of two numbers of the size of the logits.
    np.testing.assert_allclose(got[..., [0, 2, 3, 4]], np.array(want)[..., [0, 2, 3, 4]], rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(got[..., 1], np.array(want)[..., 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("p", "y", "modified", "entropy"),
    [
        ((0.5, 0.5), 0, 0.693147, 0.693147),
        ((0.1,) * 10, 4, 2.167151, 2.302585),
        ((0.7, 0.2, 0.1), 0, 0.162167, 0.801819),
        ((0.7, 0.2, 0.1), 2, 2.959736, 0.801819),
    ],
)
def test_hand_values_of_the_entropies(p, y, modified, entropy):
    assert one(signals.neg_modified_entropy, np.log(p), y) == pytest.approx(-modified, abs=1e-6)
    assert one(signals.neg_entropy, np.log(p), y) == pytest.approx(-entropy, abs=1e-6)


@pytest.mark.parametrize("height", [100, -100, 0, 3e4])
@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("classes", [2, 10])
def test_extreme_logits_stay_finite(height, y, classes):
    z = [height, *[0] * (classes - 1)]
    assert np.isfinite([one(signal, z, y) for signal in SIGNALS]).all()
    want = height - np.log(classes - 1) if y == 0 else -np.logaddexp(height, np.log(classes - 2 or 1e-300))
    assert one(signals.phi, z, y) == pytest.approx(want, abs=1e-9)


def test_phi_of_two_classes_is_the_difference_exactly():
    assert one(signals.phi, [0.1, 0], 0) == float(np.float32(0.1))


def test_a_tie_is_predicted_as_argmax_does():
    assert one(signals.correct, [1, 1, 0], 0) == 1
    assert one(signals.correct, [1, 1, 0], 1) == 0


@pytest.mark.parametrize("signal", SIGNALS)
def test_shape_type_and_input_left_alone(signal):
    logits = np.random.default_rng(0).normal(size=(7, 3, 4)).astype(np.float32)
    logits.flags.writeable = False
    labels = np.arange(7) % 4
    out = signal(logits, labels)
    assert (out.shape, out.dtype) == ((7, 3), np.float64)
    np.testing.assert_array_equal(signal(logits[:0], labels[:0]), np.empty((0, 3)))


@pytest.mark.parametrize("signal", SIGNALS)
def test_each_example_is_looked_at_alone(signal):
    """Neither the neighbours nor the blocks that are worked on may change one bit."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 9, size=(signals.BLOCK // 100, 1, 250)).astype(np.float32)
    labels = rng.integers(0, 250, len(logits))
    order = rng.permutation(len(logits))
    whole = signal(logits, labels)
    np.testing.assert_array_equal(whole[order], signal(logits[order], labels[order]))
    np.testing.assert_array_equal(whole[:1], signal(logits[:1], labels[:1]))


@pytest.mark.parametrize("signal", SIGNALS)
def test_renaming_the_classes_changes_nothing(signal):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 9, size=(200, 2, 7)).astype(np.float32)
    labels, names = rng.integers(0, 7, 200), rng.permutation(7)
    renamed = np.empty_like(logits)
    renamed[..., names] = logits
    np.testing.assert_allclose(signal(renamed, names[labels]), signal(logits, labels), rtol=1e-12)
