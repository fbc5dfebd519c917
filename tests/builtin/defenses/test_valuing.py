"""Models of any defense value examples, by any attack with a threshold."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from privbench import learn
from privbench.api import Context, MembershipAttack, Needs, component
from privbench.builtin.attacks.threshold import Correctness, ModifiedEntropy
from privbench.builtin.defenses import valuing
from privbench.builtin.defenses.relaxloss import RelaxLoss
from privbench.builtin.defenses.transform import Transform
from privbench.builtin.defenses.valuing import ValuationOptions, Valuer, judge
from privbench.contracts.abilities import HasThreshold
from privbench.contracts.recipe import Recipe
from privbench.data import concatenate
from privbench.data.dataset import Examples
from privbench.errors import BadOption, CellFailed, DataError
from privbench.options.fields import build, spec
from privbench.plugins.loading import catalogue, resolve
from privbench.population.ce import CrossEntropy
from privbench.stats import metrics, signals
from privbench.testing.toy import ToyTask, blueprint


@pytest.fixture(scope="module")
def toy():
    task = ToyTask(epochs=4)
    dataset = task.load()
    pool = dataset.role("pool")
    return blueprint(task, dataset), pool[:24], pool[24:], Context(seed=1, reference=dataset.role("reference"))


def options(**given):
    return build(Transform, {"valuation_models": 1, **given})


def test_options_refuse_votes_that_make_no_partition():
    for votes, models in ((2, 5), (6, 5), (2, 4)):
        with pytest.raises(ValidationError, match="both safe and risky"):
            ValuationOptions(votes=votes, valuation_models=models)
    assert ValuationOptions(votes=3).votes == 3
    assert ValuationOptions(valuation_models=1).votes is None


LOGITS = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], np.float32))
Y, MEMBER = np.array([0, 1, 0, 1]), np.array([True, True, False, False])


def test_a_distance_is_the_signal_above_the_threshold_that_is_best_on_the_model_itself():
    signal = signals.neg_modified_entropy(LOGITS[:, None], Y)[:, 0]
    # By hand, with modified entropies of 0.0211, 0.0893, 0.4087 and 1.6856; the threshold lies in the middle of a gap.
    assert signal.tolist() == pytest.approx([-0.0211, -0.0893, -0.4087, -1.6856], abs=1e-4)
    tau = -(0.0893 + 0.4087) / 2
    assert judge(ModifiedEntropy(thresholds="global"), LOGITS, Y, MEMBER) == pytest.approx(signal - tau, abs=1e-4)
    assert tau == pytest.approx(metrics.best_threshold(signal, MEMBER), abs=1e-4)
    by_class = judge(ModifiedEntropy(), LOGITS, Y, MEMBER)
    taus = [-(0.0211 + 0.4087) / 2, -(0.0893 + 1.6856) / 2]
    assert by_class.tolist() == pytest.approx([s - taus[y] for s, y in zip(signal, Y, strict=True)], abs=1e-4)
    assert judge(Correctness(), LOGITS, Y, MEMBER).tolist() == [0.5, 0.5, 0.5, -0.5]


def test_every_installed_attack_values_or_is_refused_for_a_reason():
    valuing_ones = set()
    for name in catalogue().of("attack"):
        attack = resolve("attack", name)
        try:
            made = options(valued_by=name)
        except BadOption as error:
            assert "must be a membership attack with a threshold of its own" in str(error)  # noqa: PT017
            needs = attack.needs
            more = dataclasses.replace(needs, answers="logits", shadows="none") != Needs() or needs.answers == "none"
            natural = isinstance(attack, HasThreshold) and attack.threshold is not None
            assert more or not natural or not isinstance(attack, MembershipAttack)
            continue
        try:
            assert np.isfinite(judge(made.valued_by, LOGITS, Y, MEMBER)).all()
        except CellFailed:  # it compares shadows trained with and without an example, and is refused when it is tried
            assert attack.needs.shadows == "adaptive"
        else:
            valuing_ones.add(name)
    assert {"confidence", "correctness", "entropy", "m-entropy"} <= valuing_ones


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"valued_by": "m-entrop"}, "no attack named 'm-entrop'. Did you mean 'm-entropy'?"),
        ({"valued_by": "m-entropy:cutt=value"}, "'m-entropy' has no option 'cutt'. Did you mean 'cut'?"),
        ({"valued_by": "m-entropy:shadows=undefended"}, "must be a membership attack with a threshold"),
        ({"valued_by": "lira"}, "must be a membership attack with a threshold"),
        ({"valued_by": "inversion"}, "must be a membership attack with a threshold"),
        ({"valuation": "relaxlos"}, "no defense named 'relaxlos'. Did you mean 'relaxloss'?"),
        ({"valuation": "selena+relaxloss"}, "selena"),
        ({"valuation": 3}, "must be the text of a component"),
    ],
)
def test_what_cannot_value_is_refused_in_one_line_that_names_the_option(given, what):
    with pytest.raises(BadOption) as found:
        options(**given)
    (option,) = given
    assert what in str(found.value)
    assert f"option '{option}'" in str(found.value)
    assert "\n" not in str(found.value)


def test_an_attack_that_compares_shadows_is_refused_before_anything_is_trained(toy, monkeypatch):
    task, members, _, ctx = toy
    monkeypatch.setattr(learn, "train", None)
    with pytest.raises(CellFailed, match=r"valued_by=lira:queries=1 cannot value a model's own examples"):
        options(valued_by="lira:queries=1").prepare(task, members, ctx)


def test_defenses_and_attacks_are_named_as_on_the_command_line():
    assert options().valuation == CrossEntropy()
    assert options().valued_by == ModifiedEntropy(thresholds="global")
    for text in (
        "transform:valuation=relaxloss",
        "transform:valuation='relaxloss:alpha=0.2,upper=0.9',valued_by=confidence",
        "transform:valuation='selena:models=3,held_out=1'",
        "transform:valuation='fake-data+relaxloss:alpha=0.2',valued_by=m-entropy:cut=value",
    ):
        made = resolve("defense", text).parts[0]
        assert resolve("defense", spec(made)).parts[0] == made
    assert spec(made.valuation) == "fake-data+relaxloss:alpha=0.2"
    assert Transform(valuation=RelaxLoss(alpha=1.0)).valuation.alpha == 1.0


def distances(toy, ctx=None, **given):
    task, members, fakes, own = toy
    return valuing.distances(task, members, fakes, ctx or own, options(**given))


def test_an_ensemble_values_members_and_generated_examples_with_seeds_of_its_own(toy):
    u = distances(toy, valuation_models=3)
    assert (u.shape, u.dtype) == ((3, 48), np.float64)
    assert np.isfinite(u).all()
    assert not np.array_equal(u[0], u[1])
    assert np.array_equal(u, distances(toy, valuation_models=3))
    assert not np.array_equal(u, distances(toy, dataclasses.replace(toy[3], seed=2), valuation_models=3))


@component
class Watched:
    """A threshold attack that remembers what it is shown."""

    name: ClassVar[str] = "watched"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")
    threshold: ClassVar[float] = 0.25
    seen: ClassVar[list] = []

    def score(self, evidence):
        self.seen.append(evidence.shadow_member[0].copy())
        assert np.array_equal(evidence.shadow_logits[0], evidence.logits)
        return evidence.logits[:, 0, 0]


def test_the_threshold_is_fitted_on_what_a_model_was_trained_on_and_what_it_was_not(toy):
    _, members, fakes, ctx = toy
    for valued, trained in (("union", 48), ("real_only", 24)):
        Watched.seen.clear()
        u = distances(toy, valued_by=Watched(), valued=valued)
        assert u.shape == (1, 48)
        rehearsal, seen = Watched.seen
        assert len(rehearsal) == 4
        total = len(members) + len(fakes) + len(ctx.reference)
        assert seen.tolist() == [True] * trained + [False] * (total - trained)


def test_real_only_never_trains_on_generated_examples_and_all_take_as_many_steps(toy, monkeypatch):
    trained, train = [], learn.train

    def watched(task, examples, *args, **options):
        trained.append((len(examples), task.recipe.epochs))
        return train(task, examples, *args, **options)

    monkeypatch.setattr(learn, "train", watched)
    for valued in ("union", "real_only"):
        distances(toy, valued=valued, valuation_steps=1.0, valuation="relaxloss")
    assert trained == [(48, 2), (24, 4)]
    distances(toy, valued="real_only", valuation_steps=0.5, valuation="relaxloss")
    assert trained[2:] == [(24, 2)]


def test_models_are_those_of_the_defense(toy):
    task, members, _, ctx = toy
    stage = ctx.stage("model")
    released = RelaxLoss(alpha=0.5).fit(task, members, stage).model
    made = Valuer(task, len(members), options(valuation="relaxloss:alpha=0.5", valuation_steps=1.0)).train(
        members, stage
    )
    for one, other in zip(released.parameters(), made.parameters(), strict=True):
        assert np.array_equal(one.detach().numpy(), other.detach().numpy())


def test_only_the_reference_sets_thresholds_and_there_must_be_one(toy):
    _, members, _, ctx = toy
    u = distances(toy)
    moved = dataclasses.replace(ctx, reference=Examples(255 - ctx.reference.x, ctx.reference.y))
    shift = distances(toy, moved) - u
    np.testing.assert_allclose(shift, shift[0, 0])  # one threshold for all, and nothing else
    assert shift[0, 0] != 0
    assert np.array_equal(distances(toy, dataclasses.replace(ctx, validation=members)), u)
    for nothing in (None, ctx.reference[:0]):
        with pytest.raises(DataError, match="reference"):
            distances(toy, dataclasses.replace(ctx, reference=nothing))


@pytest.mark.parametrize(
    "changed",
    [
        {"valuation": "relaxloss"},
        {"valuation": "relaxloss:alpha=3.0"},
        {"valued_by": "m-entropy"},
        {"valued_by": "confidence"},
        {"valued": "real_only"},
        {"valuation_steps": 2.0},
    ],
)
def test_options_change_what_is_found_and_where_it_is_kept(toy, changed):
    keys = []

    def keep(name, key, make, inner):
        keys.append((name, key["options"], key["model_free"]))
        return make(inner)

    ctx = dataclasses.replace(toy[3], keep=keep)
    found = [distances(toy, ctx, **{"valuation_steps": 1.0, **given}) for given in ({}, changed)]
    assert not np.array_equal(*found)
    assert [key[0] for key in keys] == ["valuation"] * 2
    assert not any(key[2] for key in keys)
    assert keys[0][1] != keys[1][1]


def test_what_is_kept_is_keyed_by_the_code_of_the_defense_and_the_attack(toy, monkeypatch):
    keys = []

    def keep(name, key, make, inner):
        keys.append(key["options"])
        return {"u": np.zeros((1, 48))}

    for source in ("one", "other"):
        monkeypatch.setattr("privbench.store.fingerprint.source_hash", lambda *_, source=source: source)
        distances(toy, dataclasses.replace(toy[3], keep=keep))
    assert [key["valuation"]["source"] for key in keys] == ["one", "other"]
    assert [key["valued_by"]["source"] for key in keys] == ["one", "other"]


def test_scaled_recipes_keep_their_schedule():
    recipe = valuing.scaled(Recipe(epochs=30, warmup=3, batch_size=16), 0.5)
    assert recipe == Recipe(epochs=15, warmup=1.5, batch_size=16)
    assert valuing.scaled(Recipe(epochs=1), 0.2).epochs == 1


def test_a_model_is_measured_with_its_predictions(toy):
    task, members, fakes, ctx = toy
    valuer = Valuer(task, len(members), options())
    both = concatenate(members, fakes)
    model = valuer.train(members, ctx)
    u, recognised = valuer.measure(model, both, np.arange(48) < 24, ctx)
    logits = learn.predict(model, both.x, device="cpu")
    assert np.array_equal(recognised, logits.argmax(axis=1) == both.y)
    assert np.array_equal(u, judge(options().valued_by, logits, both.y, np.arange(48) < 24))
