"""What changes training, tried as a whole: the contract, tables and images, and a recipe with all that there is."""

import subprocess
import sys

import numpy as np
import pytest
from privbench_defenses.confidence_penalty import ConfidencePenalty
from privbench_defenses.crl import CRL
from privbench_defenses.distillation import Distillation
from privbench_defenses.early_stopping import EarlyStopping
from privbench_defenses.label_smoothing import LabelSmoothing
from privbench_defenses.mixup import Mixup

from privbench.api import Blueprint, Context, Examples, Recipe
from privbench.builtin import models
from privbench.learn import predict
from privbench.testing import parametrize_with_checks

NAMES = [
    "label-smoothing",
    "confidence-penalty",
    "early-stopping",
    "early-stopping:patience=1",
    "mixup",
    "distillation",
    "distillation:preset=relaxloss",
    "crl",
    "crl:preset=official",
]
DEFENSES = [
    LabelSmoothing(),
    ConfidencePenalty(),
    EarlyStopping(),
    EarlyStopping(patience=1),
    Mixup(),
    Distillation(),
    Distillation(mean="element"),
    CRL(),
    CRL(detach_targets=False),
]


@parametrize_with_checks([f"defense:{name}" for name in NAMES])
def test_contract(check):
    check()


def fitted(defense, model, shape, x, **recipe):
    examples = Examples(x, np.arange(len(x)) % 3)
    task = Blueprint(
        "task", Recipe(epochs=4, batch_size=16, lr=0.01, **recipe), shape, 3, lambda: models.build(model, shape, 3)
    )
    release = defense.fit(task, examples, Context(seed=1, validation=examples))
    return predict(release.model, x, device="cpu")


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_tables(defense):
    x = np.random.default_rng(0).standard_normal((50, 6), dtype=np.float32)
    assert np.isfinite(fitted(defense, "mlp", (6,), x)).all()


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_images_with_augmentation_warm_up_and_adamw(defense):
    x = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    augmented = {"optimizer": "adamw", "warmup": 1.0, "crop": 1, "flip": 0.5, "cutout": 2, "precision": "bfloat16"}
    assert np.isfinite(fitted(defense, "cnn", (3, 8, 8), x, **augmented)).all()


def test_registering_imports_no_torch():
    code = "import sys, privbench_defenses as p; p.register_defenses(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
