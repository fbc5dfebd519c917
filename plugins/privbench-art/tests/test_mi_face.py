import numpy as np
import pytest
import torch
from art.attacks.inference.model_inversion import MIFace
from art.estimators.classification import PyTorchClassifier
from privbench_art.mi_face import ArtMIFace
from torch import nn

from privbench.errors import CellFailed, UndeclaredEvidence
from privbench.testing import parametrize_with_checks, synthetic_evidence

SHAPE = (1, 4, 5)
CLASSES = 3


@parametrize_with_checks(["attack:art-mi-face:steps=20", "attack:art-mi-face:steps=20,answers=probabilities"])
def test_contract(check):
    check()


def linear(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(20, CLASSES)).eval()


@pytest.mark.parametrize("answers", ["logits", "probabilities"])
def test_it_is_what_art_finds(answers):
    """The wrapper called as the harness does, against ART called as its users do, on the same model."""
    model = linear()

    class Evidence:
        input_shape, classes = (4, 5, 1), CLASSES

    Evidence.model = model
    ours = ArtMIFace(steps=15, window=5, threshold=0.9, lr=0.05, answers=answers).reconstruct(
        Evidence(), np.array([2, 0])
    )
    whole = model if answers == "logits" else nn.Sequential(model, nn.Softmax(dim=1))
    theirs = PyTorchClassifier(whole, nn.CrossEntropyLoss(), SHAPE, CLASSES, clip_values=(0.0, 1.0), device_type="cpu")
    direct = MIFace(
        theirs, max_iter=15, window_length=5, threshold=0.9, learning_rate=0.05, batch_size=2, verbose=False
    ).infer(None, np.array([2, 0]))
    np.testing.assert_array_equal(ours, direct.transpose(0, 2, 3, 1))
    assert ours.shape == (2, 4, 5, 1)
    assert ours.max() > 0


def test_of_a_linear_model_it_is_the_gradient_clipped():
    """With logits every step adds lr times the class's weights, until [0, 1] ends it."""
    model = linear()
    with torch.no_grad():
        model[1].bias.fill_(1.0)  # so that ART's rule goes on
    steps, lr = 4, 0.1
    found = ArtMIFace(steps=steps, lr=lr).descend(model, np.array([1]), SHAPE, CLASSES)
    weights = model[1].weight[1].detach().numpy().reshape(SHAPE)
    np.testing.assert_allclose(found[0], np.clip(steps * lr * weights, 0, 1), atol=1e-6)


def test_the_model_is_left_as_it_was():
    model = linear().train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    ArtMIFace(steps=3).descend(model, np.array([0, 1]), SHAPE, CLASSES)
    assert model.training
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, old)


def test_tables_have_no_images():
    class Evidence:
        input_shape = (7,)

    with pytest.raises(CellFailed, match="tables"):
        ArtMIFace().reconstruct(Evidence(), np.arange(2))


def test_a_model_without_finite_gradients():
    class Broken(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :CLASSES] * float("nan")

    class Evidence:
        input_shape, classes, model = (4, 5, 1), CLASSES, Broken()

    with pytest.raises(CellFailed, match="NaN"):
        ArtMIFace(steps=2).reconstruct(Evidence(), np.arange(2))


def test_the_model_is_all_it_gets():
    evidence, _ = synthetic_evidence(ArtMIFace.needs, leak=1.0)
    for name in ("logits", "predictions", "x", "reference"):
        with pytest.raises(UndeclaredEvidence):
            getattr(evidence, name)
