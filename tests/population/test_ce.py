import numpy as np
import pytest

from privbench.api import Blueprint, Context, Defense
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.learn.inference import mean_loss
from privbench.population.ce import CrossEntropy


def test_the_release_is_the_model_and_its_final_loss():
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8), rng.integers(0, 4, 64))
    task = Blueprint("t", Recipe(epochs=60, batch_size=16), (1, 8, 8), 4, lambda: build("mlp", (1, 8, 8), 4))
    defense = CrossEntropy()
    assert isinstance(defense, Defense)
    release = defense.fit(task, examples, Context())
    assert release.facts["train_loss"] == pytest.approx(mean_loss(release.model, examples, device="cpu"))
    assert release.facts["train_loss"] < 0.05
    assert release.synthetic is None
