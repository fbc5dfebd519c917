import numpy as np
import pytest
import torch
from privbench_defenses.adversarial_regularisation import AdversarialRegularisation
from privbench_defenses.inference_game import Game

from privbench.api import Blueprint, Context, Examples
from privbench.errors import BadOption, DataError
from privbench.learn import train
from privbench.testing import build, parametrize_with_checks, toy_task

NAME = "defense:adversarial-regularisation"


@parametrize_with_checks([f"{NAME}:warmup=0", f"{NAME}:gain=log,warmup=1,weight=6"])
def test_contract(check):
    check()


@pytest.fixture(scope="module")
def toy():
    """A small task, its members and a context with examples outside the pool."""
    task = toy_task(epochs=4)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, lambda: task.network(shape, classes))
    return blueprint, data.role("pool"), Context(seed=1, validation=data.role("validation"))


def fitted(toy, **options):
    return build(AdversarialRegularisation, {"warmup": 1, **options}).fit(*toy)


def weights(model):
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


@pytest.mark.parametrize("options", [{"weight": 0.0}, {"weight": 0.0, "gain": "log"}, {"warmup": 4}])
def test_without_weight_or_after_warm_up_only_it_is_plain_training_bit_for_bit(toy, options):
    assert weights(fitted(toy, **options).model) == weights(train(*toy))


def test_against_an_attack_that_says_one_half_it_is_plain_training_bit_for_bit(toy, monkeypatch):
    def blind(game, *_args):
        for parameter in game.attack.combined[-1].parameters():
            torch.nn.init.zeros_(parameter)

    monkeypatch.setattr(Game, "attack_learns", blind)
    assert weights(fitted(toy, weight=6.0).model) == weights(train(*toy))


def test_with_weight_it_is_not(toy):
    plain = weights(train(*toy))
    trained = [weights(fitted(toy, **options).model) for options in ({}, {"gain": "log"}, {"weight": 3.0})]
    assert len({plain, *trained}) == 4


def test_the_attack_takes_more_steps_ahead_of_the_model(toy, monkeypatch):
    taken = []
    monkeypatch.setattr(Game, "attack_learns", lambda *_args: taken.append(1))
    fitted(toy, warmup=3, warmup_steps=5)
    assert len(taken) == (3 * 5 + 1) * 6  # 48 members in batches of 8, 4 epochs


def test_facts_are_loss_and_advantage(toy):
    facts = fitted(toy).facts
    assert facts["train_loss"] > 0
    assert -1 <= facts["attack_gain"] <= 1


def test_tables_are_trained_on_too():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 5)).astype(np.float32), np.arange(24) % 3
    blueprint = Blueprint("table", toy_task().recipe, (5,), 3, lambda: toy_task().network((5,), 3))
    release = fitted((blueprint, Examples(x, y), Context(validation=Examples(x[:3] + 1, y[:3]))))
    assert not release.model.training


def test_without_examples_outside_the_pool_it_says_what_is_missing(toy):
    with pytest.raises(DataError, match="validation"):
        fitted((toy[0], toy[1], Context()))


def test_what_is_out_of_range_is_refused():
    with pytest.raises(BadOption, match="gain"):
        build(AdversarialRegularisation, {"gain": "square"})
