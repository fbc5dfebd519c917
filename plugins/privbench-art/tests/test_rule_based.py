import numpy as np
import pytest
from art.attacks.inference.membership_inference import MembershipInferenceBlackBoxRuleBased
from art.estimators.classification import BlackBoxClassifier
from privbench_art.rule_based import ArtRuleBased

from privbench.errors import UndeclaredEvidence
from privbench.testing import parametrize_with_checks, synthetic_evidence


@parametrize_with_checks(["attack:art-rule-based"])
def test_contract(check):
    check()


def planted(**options):
    return synthetic_evidence(ArtRuleBased.needs, leak=2.0, **options)[0]


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_it_is_correctness(classes):
    evidence = planted(classes=classes)
    right = evidence.predictions[:, 0] == evidence.labels
    assert 0 < right.mean() < 1
    np.testing.assert_array_equal(ArtRuleBased().score(evidence), right)


def test_it_is_what_art_says_of_the_inputs_themselves():
    """ART with an estimator that reads pixels and answers them, as its own users call it."""
    evidence = planted()
    pixels = np.random.default_rng(0).random((len(evidence.labels), 64)).astype(np.float32)
    answers = {image.tobytes(): label for image, label in zip(pixels, evidence.predictions[:, 0], strict=True)}
    model = BlackBoxClassifier(lambda x: np.eye(4)[[answers[image.tobytes()] for image in x]], (64,), 4)
    direct = MembershipInferenceBlackBoxRuleBased(model).infer(pixels, evidence.labels)
    np.testing.assert_array_equal(ArtRuleBased().score(evidence), direct)


def test_a_class_of_which_there_is_no_example():
    """ART counts the classes that occur; handed one-hot labels it takes them as they are."""

    class Evidence:
        classes, labels, predictions = 5, np.array([0, 4, 4]), np.array([[0], [3], [4]])

    np.testing.assert_array_equal(ArtRuleBased().score(Evidence()), [1, 0, 1])


def test_labels_are_all_it_gets():
    evidence = planted()
    for name in ("logits", "x", "reference", "model"):
        with pytest.raises(UndeclaredEvidence):
            getattr(evidence, name)
