"""What the records of one table have in common, and how others differ."""

import datetime as dt

import numpy as np
import pytest

from privbench.records import comparable
from privbench.records.parts import Component, Data, Utility
from privbench.records.record import Record
from privbench.stats.intervals import Estimate
from privbench.stats.metrics import evaluate

DATA = Data(name="blobs", fingerprint="f", classes=2, pool=19, reference=1, validation=1, test=1, duplicates=0)


def record(defense="ce", members=None, **changes):
    """A record that failed; with members, it knows how many there are among 19 examples."""
    parts = {
        kind: Component(spec=spec, name=spec.partition(":")[0], plugin="privbench", source="0123456789")
        for kind, spec in {"task": "npz:epochs=3", "defense": defense, "attack": "lira"}.items()
    }
    numbers = dict.fromkeys(("models", "targets", "shadows"), 4)
    about = {"threat_model": "logits", "seed": 0, "device": "cpu", "status": "failed", "data": DATA, **parts, **numbers}
    if members is not None:
        sizes = {"train_accuracy": members, "nonmember_accuracy": 19 - members, "test_accuracy": 5}
        accuracies = {name: Estimate(value=0.5, low=0.4, high=0.6, n=n) for name, n in sizes.items()}
        about["utility"] = Utility(**accuracies, test_accuracy_sd=None)
    return Record(**{**about, **changes})


def test_a_setting_is_told_by_whoever_knows_it():
    unknown, half, own = record(), record(members=9), record(members=12)
    assert "pool of 19, half of it members" in comparable.setting_text([unknown, half])
    assert "pool of 19, 12 of them members" in comparable.setting_text([unknown, own])


def test_members_are_counted_from_the_scores_where_no_accuracy_is_known():
    member = np.arange(19)[np.newaxis] < 13
    scored = record(models=1, targets=1, metrics=evaluate(np.zeros((1, 19)), member, None, seed=0, resamples=10))
    assert comparable.setting_text([record(), scored]).startswith("4 models, 4 targets, pool of 19, 13 of them members")
    assert comparable.setting_text([scored]).startswith("1 model, 1 target, pool of 19, 13 of them members")


def test_a_title_has_the_data_and_the_options():
    assert comparable.title(record()) == "npz(blobs):epochs=3"


def test_one_generation_has_nothing_to_say():
    ((words, group),) = comparable.generations([record("a"), record("b")])
    assert (words, len(group)) == ("", 2)


def test_generations_are_told_by_what_differs():
    old = record(schema_version=1, environment={"torch": "2.13", "numpy": "2"})
    new = record(environment={"torch": "2.14", "numpy": "2", "card": "H100"})
    words = [words for words, _ in comparable.generations([old, new])]
    assert words == ["schema 1, torch 2.13, card unknown", "schema 2, torch 2.14, card H100"]


def test_records_of_two_cards_or_of_two_cudnns_stand_apart():
    made = {"card": "H100 9.0", "cuDNN": "92400", "processor": "x86_64", "platform": "one"}
    records = [record(device="cuda", environment={**made, **other}) for other in ({}, {"card": "A100 8.0"})]
    assert [words for words, _ in comparable.generations(records)] == ["card H100 9.0", "card A100 8.0"]
    records = [record(device="cuda", environment={**made, **other}) for other in ({}, {"cuDNN": "91000"})]
    assert [words for words, _ in comparable.generations(records)] == ["cuDNN 92400", "cuDNN 91000"]
    records = [record(device="cuda", environment={**made, **other}) for other in ({}, {"platform": "two"})]
    assert [words for words, _ in comparable.generations(records)] == [""]


def test_the_setting_names_the_card():
    one, other = (record(device="cuda", environment={"card": card}) for card in ("H100 9.0", "A100 8.0"))
    assert ", seed 0, cuda (H100 9.0); " in comparable.setting_text([one, one])
    assert ", seed 0, cuda; " in comparable.setting_text([one, other])
    assert ", seed 0, cpu; " in comparable.setting_text([record(environment={"processor": "x86_64"})])


def test_a_card_and_a_processor_are_two_settings():
    one, other = record(device="cuda", environment={"card": "H100 9.0"}), record(device="cpu")
    assert comparable.setting(one) != comparable.setting(other)


def test_the_newest_of_those_that_can_be_exchanged_is_kept():
    first, second = (record(created=dt.datetime(2026, 1, day, tzinfo=dt.timezone.utc)) for day in (1, 2))
    undated, other = record(), record(environment={"torch": "2.14"})
    assert comparable.latest([undated, first, second, other]) == [second, other]
    assert comparable.latest([second, first]) == [second]


NOTHING = Data(name="npz", fingerprint="", classes=0, pool=0, reference=0, validation=0, test=0, duplicates=0)


def test_a_task_that_could_not_be_loaded_has_no_pool():
    assert comparable.setting_text([record(data=NOTHING)]).startswith("4 models, 4 targets, data not loaded, seed 0")


def test_a_record_without_data_is_left_out_where_one_of_the_same_cell_has_some():
    lost, found, other = record(data=NOTHING), record(), record("relaxloss", data=NOTHING)
    assert comparable.latest([lost, found, other]) == [found, other]
    assert comparable.latest([lost]) == [lost]


def test_data_are_known_with_their_sizes_or_not_at_all():
    for wrong in ({"fingerprint": "f"}, {"classes": 2}, {"pool": 19}):
        with pytest.raises(ValueError, match="classes and pool are at least 1, and 0 without a fingerprint"):
            Data(**{**NOTHING.model_dump(), **wrong})
    with pytest.raises(ValueError, match="status is ok, but the data could not be loaded"):
        record(data=NOTHING, status="ok")
