import numpy as np
import pytest
from privbench_attacks.shadow_nn import ShadowNN, logit_scale

from privbench.errors import CellFailed
from privbench.testing import parametrize_with_checks, synthetic_evidence


@parametrize_with_checks(["attack:shadow-nn:epochs=3", "attack:shadow-nn:nets=joint,order=classes,epochs=3,rows=1000"])
def test_contract(check):
    check()


def test_logits_of_probabilities():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (50, 5)).astype(np.float32), rng.integers(0, 5, 50)
    own, each = logit_scale(logits, labels)
    p = np.exp(logits.astype(float))
    p /= p.sum(axis=1, keepdims=True)
    assert np.allclose(each, np.log(p / (1 - p)), rtol=1e-9)
    assert np.array_equal(own, each[np.arange(50), labels]) or np.allclose(own, each[np.arange(50), labels], rtol=1e-12)


def test_the_surest_answers_stay_apart():
    sure = np.array([[40, 0, 0], [60, 0, 0], [100, 0, 0]], dtype=np.float32)
    own, each = logit_scale(sure, np.zeros(3, dtype=int))
    assert np.allclose(own, np.array([40, 60, 100]) - np.log(2))
    assert np.array_equal(own, each[:, 0])


def test_only_the_largest_are_shown():
    logits = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    labels = np.arange(6) % 5
    assert ShadowNN(top=2).features(logits, labels, 5).shape == (6, 3)
    assert ShadowNN().features(logits, labels, 5).shape == (6, 6)
    assert ShadowNN(nets="joint", top=2).features(logits, labels, 5).shape == (6, 8)
    rows, swapped = (ShadowNN().features(each, labels, 5)[:, 1:] for each in (logits, logits[:, ::-1]))
    assert np.allclose(rows, swapped, rtol=1e-12)
    assert (np.diff(rows, axis=1) <= 0).all()


def test_without_shadows_it_says_so():
    attack = ShadowNN()
    with pytest.raises(CellFailed, match="--models 4"):
        attack.score(synthetic_evidence(attack.needs, leak=1.0, models=2)[0])
