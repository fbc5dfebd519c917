"""The privacy-domain transform, whole: generate, value, move."""

import dataclasses

import numpy as np
import pytest
import torch

from privbench.api import Context
from privbench.builtin.attacks.threshold import ModifiedEntropy
from privbench.builtin.defenses import valuation, valuing
from privbench.builtin.defenses.relaxloss import RelaxLoss
from privbench.builtin.defenses.transform import Transform
from privbench.builtin.defenses.valuation import RISKY, SAFE
from privbench.builtin.generative import cycle_gan, tac_gan
from privbench.builtin.models import build as build_model
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption
from privbench.options.fields import build, spec
from privbench.plugins.loading import resolve
from privbench.population.composition import chain
from privbench.population.traits import unmet
from privbench.testing.toy import ToyTask, blueprint

SMALL = {
    "gan_steps": 3,
    "gan_width": 2,
    "gan_batch": 4,
    "ema_start": 1,
    "valuation_models": 2,
    "cycle_steps": 60,
    "cycle_batch": 4,
    "cycle_width": 4,
    "cycle_lr": 5e-3,
}


@pytest.fixture(scope="module")
def toy():
    task = ToyTask()
    dataset = task.load()
    return blueprint(task, dataset), dataset.role("pool")[:24], Context(seed=1, reference=dataset.role("reference"))


def prepared(toy, **options):
    task, members, ctx = toy
    return Transform(**{**SMALL, **options}).prepare(task, members, ctx)


@pytest.fixture(scope="module")
def made(toy):
    return prepared(toy)


def test_replacing_keeps_labels_and_moves_what_is_not_safe_or_not_risky(toy, made):
    task, members, ctx = toy
    real, fake = made.notes["levels_real"], made.notes["levels_fake"]
    generated = tac_gan.fakes(task, members, ctx, Transform(**SMALL), "transform")
    assert np.array_equal(made.examples.y, np.concatenate([members.y, generated.y]))
    assert np.array_equal(np.bincount(made.synthetic.y), np.bincount(members.y))
    assert {SAFE, RISKY} <= set(real) | set(fake)

    x = made.examples.x
    same_real = (x[:24] == members.x).all(axis=(1, 2, 3))
    same_fake = (x[24:] == generated.x).all(axis=(1, 2, 3))
    assert np.array_equal(same_real, real == SAFE)
    assert np.array_equal(same_fake, fake == RISKY)
    assert np.array_equal(x[24:], made.synthetic.x)
    assert x.dtype == np.uint8


def test_under_replace_no_original_that_moved_is_stored_and_none_twice(toy, made):
    _, members, _ = toy
    stored = [image.tobytes() for image in made.examples.x]
    originals = [image.tobytes() for image in members.x]
    levels = made.notes["levels_real"]
    for original, level in zip(originals, levels, strict=True):
        assert stored.count(original) == (1 if level == SAFE else 0)
    assert len(set(stored)) == len(stored)


def test_appending_keeps_all_and_adds_what_was_moved(toy, made):
    task, members, ctx = toy
    both = prepared(toy, mode="append")
    moved_real = np.flatnonzero(made.notes["levels_real"] != SAFE)
    moved_fake = np.flatnonzero(made.notes["levels_fake"] != RISKY)
    generated = tac_gan.fakes(task, members, ctx, Transform(**SMALL), "transform")
    labels = [members.y, members.y[moved_real], generated.y, generated.y[moved_fake]]
    assert np.array_equal(both.examples.y, np.concatenate(labels))
    assert np.array_equal(both.examples.x[:24], members.x)
    at = 24 + len(moved_real)
    assert np.array_equal(both.examples.x[24:at], made.examples.x[moved_real])
    assert np.array_equal(both.synthetic.x[:24], generated.x)
    assert np.array_equal(both.synthetic.x[24:], made.synthetic.x[moved_fake])


def test_what_it_says_of_itself(toy, made):
    _, members, _ = toy
    facts, notes = made.facts, made.notes
    assert sum(facts[f"real_{name}"] for name in valuation.LEVELS) == pytest.approx(1)
    assert facts["fake_risky"] == (notes["levels_fake"] == RISKY).mean()
    assert facts["overlap_top25_null"] == 0.25
    assert facts["overlap_top50"] == valuation.overlap(valuation.ranks(notes["distances"]), 0.5, 1.0)
    assert facts["cycle_trained"] == 1
    assert notes["distances"].shape == (2, 48)
    assert notes["distances"].dtype == np.float32
    moved = notes["levels_real"] != SAFE
    change = np.abs(made.examples.x[:24][moved].astype(float) - members.x[moved]).mean() / 255
    assert facts["real_change"] == pytest.approx(change, rel=1e-5)
    assert change > 0.001
    assert "diversity" in facts
    assert all(np.isfinite(value) for value in facts.values())


def test_pictures_show_moved_examples_before_and_after(toy, made):
    task, members, _ = toy
    before, after = made.notes["grid/real before"], made.notes["grid/real after"]
    assert before.shape == after.shape == (task.classes, 8, 8, 8, 1)
    first = np.flatnonzero((made.notes["levels_real"] != SAFE) & (members.y == 1))[0]
    assert np.array_equal(before[1, 0], members.x[first])
    assert np.array_equal(after[1, 0], made.examples.x[first])


def test_inputs_are_moved_by_the_releases_own_generator(toy, made):
    task, members, _ = toy
    moved = np.flatnonzero(made.notes["levels_real"] != SAFE)
    out = Transform(**SMALL).transform_inputs(task, made.notes, members.x, "cpu")
    assert np.array_equal(out[moved], made.examples.x[moved])
    as_float = Transform(**SMALL).transform_inputs(task, made.notes, members.x / np.float32(255), "cpu")
    assert as_float.dtype == np.float32
    assert np.abs(as_float * 255 - out).max() < 1.5


def test_the_same_seed_gives_the_same_bits_and_moving_draws_from_no_global_generator(toy, made):
    again = prepared(toy)
    before = torch.random.get_rng_state()
    Transform(**SMALL).transform_inputs(toy[0], again.notes, toy[1].x, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(again.examples.x, made.examples.x)
    assert again.facts == made.facts
    assert all(np.array_equal(again.notes[name], array) for name, array in made.notes.items())


def test_the_generator_is_shared_and_the_cycle_gan_kept_by_both_domains(toy):
    task, members, ctx = toy
    kept = {}

    def keep(name, key, make, inner):
        kept.setdefault(name, []).append(key)
        return make(inner)

    Transform(**SMALL).prepare(task, members, dataclasses.replace(ctx, keep=keep))
    assert {name: len(keys) for name, keys in kept.items()} == {"tac-gan": 1, "valuation": 1, "cycle-gan": 1}
    assert kept["tac-gan"][0]["inputs"] == members.fingerprint


@pytest.mark.parametrize("domains", ["union", "real_only"])
def test_the_domains_are_of_all_or_of_real_examples(toy, made, monkeypatch, domains):
    seen = {}
    monkeypatch.setattr(cycle_gan, "between", lambda safe, risky, *a, **o: seen.update(safe=safe, risky=risky) or {})
    prepared(toy, domains=domains)
    real, fake = made.notes["levels_real"], made.notes["levels_fake"]
    for name, level in (("safe", SAFE), ("risky", RISKY)):
        assert len(seen[name]) == (real == level).sum() + (domains == "union") * (fake == level).sum()
        assert np.array_equal(seen[name].x[: (real == level).sum()], toy[1].x[real == level])


def test_without_safe_or_risky_examples_nothing_moves_and_the_record_says_so(toy, monkeypatch):
    task, members, _ = toy
    for level in (SAFE, RISKY, valuation.VAGUE):
        monkeypatch.setattr(valuation, "levels", lambda *a, level=level: np.full(48, level, np.int8))
        result = prepared(toy)
        assert result.facts["cycle_trained"] == 0
        assert "real_change" not in result.facts
        assert np.array_equal(result.examples.x[:24], members.x)
        assert np.array_equal(Transform().transform_inputs(task, result.notes, members.x, "cpu"), members.x)


def test_shadows_reuse_what_was_published(toy, made):
    task, members, ctx = toy
    reused = Transform(**SMALL).reuse(task, members, made.synthetic, ctx)
    assert np.array_equal(reused.x, np.concatenate([members.x, made.synthetic.x]))
    assert np.array_equal(reused.y, np.concatenate([members.y, made.synthetic.y]))


def test_augmentation_of_one_source_only_is_marked_or_refused_where_it_has_no_effect(toy):
    task, members, ctx = toy
    with pytest.raises(BadOption, match="augment=fake has no effect"):
        prepared(toy, augment="fake")
    crops = dataclasses.replace(task, recipe=Recipe(epochs=1, batch_size=8, crop=1))
    for augment, mode in (("real", "replace"), ("fake", "append")):
        result = Transform(**SMALL, augment=augment, mode=mode).prepare(crops, members, ctx)
        fakes = len(result.synthetic)
        real = np.arange(len(result.examples)) < len(result.examples) - fakes
        assert np.array_equal(result.examples.augment, real if augment == "real" else ~real)
    assert Transform(**SMALL).prepare(crops, members, ctx).examples.augment is None


def test_float_images_are_joined_as_floats_and_published_as_bytes(toy):
    task, members, ctx = toy
    as_float = Examples(members.x / np.float32(255), members.y)
    result = Transform(**SMALL).prepare(task, as_float, ctx)
    assert result.examples.x.dtype == np.float32
    assert result.synthetic.x.dtype == np.uint8
    np.testing.assert_allclose(result.examples.x[24:] * 255, result.synthetic.x, atol=1e-3)


def test_tables_are_refused_before_anything_is_trained(toy):
    task, members, ctx = toy
    table = Examples(members.x.reshape(24, -1).astype(np.float32), members.y)
    with pytest.raises(BadOption, match="'transform' generates images"):
        Transform().prepare(dataclasses.replace(task, shape=(64,)), table, ctx)


def test_it_stands_first_in_a_chain_and_options_and_presets_are_those_of_its_parts():
    with pytest.raises(BadOption, match="first"):
        chain([Transform(), Transform()])
    assert build(Transform, {"ratio": "2", "votes": "3"}).ratio == 2
    assert build(Transform, {"measuring": "2"}).traits.relative_cost > Transform().traits.relative_cost
    assert build(Transform, {"valuation": "selena"}).traits.relative_cost > Transform().traits.relative_cost
    with pytest.raises(BadOption, match="both safe and risky"):
        build(Transform, {"votes": "2"})


def test_the_seeds_preset_is_the_papers_pipeline_in_what_it_states():
    seed = build(Transform, {"preset": "seed"})
    assert resolve("defense", spec(seed)).parts[0] == seed
    # Stated: five valuing models, distance to the threshold by modified entropy, two domains, unpaired; CycleGAN and
    # TAC-GAN are those of their papers.
    assert (seed.valuation_models, seed.distance, seed.cycle_matched, seed.cycle_classes) == (5, "abs", False, False)
    assert seed.valued_by == ModifiedEntropy(thresholds="global")
    assert (seed.cycle_skip, seed.cycle_conv, seed.cycle_width, seed.lambda_cycle) == (False, True, 64, 10.0)
    assert (seed.identity, seed.cycle_epochs, seed.cycle_lr) == (0.0, 200.0, 2e-4)
    assert (seed.gan_width, seed.gan_steps, seed.ema) == (64, 125_000, 0.9999)
    # Not stated, as adopted.
    assert seed.valuation == build(RelaxLoss, {"preset": "seed_s0"})
    assert (seed.valued, seed.quantile, seed.votes, seed.valuation_steps) == ("union", 0.5, None, 1.0)
    assert (seed.domains, seed.mode, seed.augment) == ("union", "replace", "both")


TINY = {
    **SMALL,
    "cycle_epochs": 1.0,
    "cycle_width": 2,
    "gan_batch": 4,
    "latent": 4,
    "d_steps": 1,
}


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_the_seeds_preset_moves_small_and_large_images(toy, shape):
    task, members, ctx = toy
    side = shape[1]

    def grown(examples):
        x = np.kron(examples.x, np.ones((1, side // 8, side // 8, 1), np.uint8))
        return Examples(np.repeat(x, shape[0], axis=3), examples.y)

    plan = dataclasses.replace(task, shape=shape, build=lambda: build_model("mlp", shape, task.classes, hidden=(8,)))
    large = dataclasses.replace(ctx, reference=grown(ctx.reference))
    seed = build(Transform, {"preset": "seed", **TINY})
    made = seed.prepare(plan, grown(members), large)
    assert made.facts["cycle_trained"] == 1
    assert made.synthetic.x.shape[1:] == (side, side, shape[0])
    moved = made.notes["levels_real"] != SAFE
    out = seed.transform_inputs(plan, made.notes, grown(members).x, "cpu")
    assert np.array_equal(out[moved], made.examples.x[:24][moved])
    assert {"critic_safe", "critic_risky", "safe_rank", "risky_rank"} <= set(made.facts)


def test_a_transfer_is_measured_by_models_that_do_not_value(toy, made, monkeypatch):
    facts = made.facts
    for source in ("real", "fake"):
        for when in ("before", "after", "exchanged"):
            assert 0 <= facts[f"{source}_rank_{when}"] <= 1
            assert 0 <= facts[f"{source}_recognised_{when}"] <= 1
        assert 0 <= facts.get(f"{source}_kept", 0) <= 1
    assert set(facts) >= {"safe_rank", "risky_rank", "critic_safe", "critic_risky", "cycle_adversarial", "cycle_l1"}
    without = prepared(toy, measuring=0)
    assert {name: facts[name] for name in without.facts} == without.facts  # nothing else depends on it
    assert not any("rank" in name for name in without.facts)
    assert np.array_equal(without.examples.x, made.examples.x)
    trained = []
    monkeypatch.setattr(valuing.Valuer, "train", watched(valuing.Valuer.train, trained))
    prepared(toy, measuring=2)
    valuing_ones, measuring = trained[:2], trained[2:]
    assert [len(examples) for examples, _ in valuing_ones] == [48, 48]
    assert [len(examples) for examples, _ in measuring] == [24] * 4
    assert len({ctx.purpose for _, ctx in trained}) == 6


def watched(train, seen):
    def watching(self, examples, ctx):
        seen.append((examples, ctx))
        return train(self, examples, ctx)

    return watching


def test_criteria_are_of_facts_that_it_states(made):
    assert {each.fact for each in Transform.criteria} <= {*made.facts, "real_kept", "fake_kept"}
    failed = {"real_rank_after": 0.58, "critic_safe": 0.1, "fake_rank_after": 0.7}
    (critic, rank) = unmet(chain([Transform()]), failed)
    assert critic.startswith("critic_safe is 0.1, where at least 0.2 would mean")
    assert rank == "real_rank_after is 0.58, where at most 0.5 would mean: moved real examples rank in the safer half"


def test_a_release_is_trained_and_publishes(toy):
    task, members, ctx = toy
    release = chain([Transform(**SMALL)]).fit(task, members, ctx)
    assert len(release.synthetic) == 24
    assert {"train_loss", "real_safe", "cycle_trained"} <= set(release.facts)
    assert "levels_real" in release.notes
