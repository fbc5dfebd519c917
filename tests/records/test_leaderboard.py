from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.errors import UsageError
from privbench.records import leaderboard
from privbench.records.parts import Canaries, Claims, Component, Cost, Data, Utility
from privbench.records.record import Record
from privbench.report.tables import export
from privbench.stats.intervals import Estimate, unavailable
from privbench.stats.likeness import Likeness, Reconstruction
from privbench.stats.metrics import Metrics
from privbench.stats.roc import OperatingPoint


def estimate(value):
    return unavailable("too few") if value is None else Estimate(value=value, low=value / 2, high=value, n=9)


def component(spec):
    return Component(spec=spec, name=spec.partition(":")[0], plugin="privbench", source="s")


def record(defense="ce", attack="lira", tpr=0.1, *, auc=0.6, failed="", **changes):
    """A record with these numbers, or failed for a reason."""
    point = {"threshold": 0.0, "false_positives": 1, "members": 9, "nonmembers": 9, "supported": "yes"}
    metrics = Metrics.model_construct(
        tpr_at_fpr=[
            OperatingPoint(fpr=0.01, tpr=estimate(tpr), **point),
            OperatingPoint(fpr=0.001, tpr=estimate(None), **point),
        ],
        auc=estimate(auc),
        balanced_accuracy=estimate(0.55),
        oracle_balanced_accuracy=estimate(0.99),
    )
    utility = Utility(
        train_accuracy=estimate(0.9),
        nonmember_accuracy=estimate(0.8),
        test_accuracy=estimate(0.7),
        test_accuracy_sd=0.01,
    )
    about = {
        "task": component("digits"),
        "data": Data(
            name="digits", fingerprint="f", classes=2, pool=18, reference=1, validation=1, test=1, duplicates=0
        ),
        "defense": component(defense),
        "attack": component(attack),
        "threat_model": "logits",
        **dict(zip(("models", "targets", "shadows"), (4, 4, 2), strict=True)),
        "seed": 0,
        "device": "cpu",
        "status": "failed" if failed else "ok",
        "reason": failed,
        "metrics": None if failed else metrics,
        "utility": None if failed else utility,
        "cost": None
        if failed
        else Cost(seconds_per_model=2.0, relative_to_ce=1.5, relative_low=0.7, relative_high=3.0),
    }
    return Record.model_construct(**{**about, **changes})


def ranks(records, **options):
    table = leaderboard.frame(records, **options)
    return {row["defense"]: None if pd.isna(row["rank"]) else row["rank"] for row in table.to_dict("records")}


def only(table):
    (row,) = table.to_dict("records")
    return row


def test_a_defense_is_as_good_as_its_strongest_attack():
    table = leaderboard.frame(
        [record("a", "lira", 0.2), record("a", "entropy", 0.9), record("b", "lira", 0.3), record("b", "entropy", 0.1)]
    )
    assert list(zip(table["rank"], table["defense"], table["attack"], strict=True)) == [
        (1, "b", "lira"),
        (2, "a", "entropy"),
    ]


def test_ties_share_a_rank_and_the_next_one_is_left_out():
    assert ranks([record("c", tpr=0.3), record("a", tpr=0.2), record("b", tpr=0.2)]) == {"a": 1, "b": 1, "c": 3}


@pytest.mark.parametrize("bad", [{"tpr": None}, {"failed": "it broke"}])
def test_no_number_is_never_taken_for_safe(bad):
    records = [record("good", tpr=0.9), record("a-bad", **bad)]
    assert ranks(records) == {"good": 1, "a-bad": None}
    assert list(leaderboard.frame(records)["defense"]) == ["good", "a-bad"]  # and stands last


@pytest.mark.parametrize("others", [[0.4], [0.4, 0.0]])
def test_an_attack_without_a_number_hides_no_other(others):
    records = [record("ce", "none", None), *(record("ce", f"attack{i}", value) for i, value in enumerate(others))]
    row = only(leaderboard.frame(records))
    assert (row["rank"], row["attack"], row["tpr@1%"]) == (1, "attack0", 0.4)


def test_zero_is_a_number():
    assert ranks([record("a", tpr=0.0), record("b", tpr=0.1)]) == {"a": 1, "b": 2}


def test_failed_attacks_are_counted_and_named():
    row = only(leaderboard.frame([record("ce", "lira", failed="scores are NaN"), record("ce", "entropy", 0.2)]))
    assert (row["attacks"], row["failed"], row["attack"]) == (1, 1, "entropy")
    assert row["note"] == "lira failed: scores are NaN"


def test_why_there_is_no_rank():
    assert only(leaderboard.frame([record(tpr=None)]))["note"] == "no rank: the examples are too few to support tpr@1%"
    assert only(leaderboard.frame([record(failed="it broke")]))["note"] == "lira failed: it broke"


def test_attacks_that_a_defense_did_not_meet_are_named():
    table = leaderboard.frame([record("a", "lira"), record("a", "entropy"), record("b", "lira")])
    assert dict(zip(table["defense"], table["note"], strict=True)) == {"a": "", "b": "not attacked by entropy"}


@pytest.mark.parametrize(
    "change",
    [
        {"models": 8},
        {"targets": 2},
        {"seed": 1},
        {"salt": "0123456789abcdef0123456789abcdef"},
        {"device": "cuda"},
        {"task": component("digits:epochs=3")},
        {
            "data": Data(
                name="digits", fingerprint="g", classes=2, pool=18, reference=1, validation=1, test=1, duplicates=0
            )
        },
    ],
    ids=lambda change: next(iter(change)),
)
def test_different_settings_are_never_compared(change):
    records = [record("a", tpr=0.1), record("b", tpr=0.9, **change)]
    assert ranks(records) == {"a": 1, "b": 1}
    assert list(leaderboard.frame(records)["note"]) == ["", ""]


def test_data_sets_of_one_name_and_size_have_tables_of_their_own():
    """What tells tables apart is their text: two of one text would be drawn as one, with two rows of rank 1."""
    other = Data(name="digits", fingerprint="g", classes=2, pool=18, reference=1, validation=1, test=1, duplicates=0)
    table = leaderboard.frame([record("a"), record("b", tpr=0.2), record("a", data=other), record("b", data=other)])
    assert table.groupby("setting").size().tolist() == [2, 2]
    assert [text.partition(";")[0] for text in dict.fromkeys(table["setting"])] == ["data f", "data g"]


def test_it_is_the_intervals_of_cells_that_are_of_one_attack_alone():
    records = [record("a", environment={"torch": version}) for version in "12"]
    text = export(leaderboard.cells(records), "md")
    assert text.count("95 % intervals, each of one attack alone; only records with torch") == 2


@pytest.mark.parametrize(("by", "first"), [("tpr@1%", "a"), ("auc", "b")])
def test_what_ranks_can_be_chosen(by, first):
    records = [record("a", tpr=0.1, auc=0.9), record("b", tpr=0.2, auc=0.6)]
    table = leaderboard.frame(records, rank_by=by)
    assert table["defense"][0] == first
    assert table.attrs["rank_by"] == by


def test_the_oracle_never_ranks():
    assert not any("oracle" in name for name in leaderboard.RANKINGS)
    with pytest.raises(UsageError, match="Cannot rank by 'oracle-balanced-accuracy'"):
        leaderboard.frame([], rank_by="oracle-balanced-accuracy")


def test_a_typo_gets_the_nearest_ranking():
    with pytest.raises(UsageError, match=r"Did you mean 'auc'\? Use one of tpr@1%"):
        leaderboard.frame([], rank_by="acu")


def test_nothing_is_an_empty_table_with_all_columns():
    assert leaderboard.frame([]).empty
    assert {"rank", "defense", "tpr@1%_low", "note"} <= set(leaderboard.frame([]).columns)
    assert "rank" not in leaderboard.cells([])


def test_every_number_comes_with_its_interval():
    row = only(leaderboard.frame([record(tpr=0.2)]))
    assert [row["tpr@1%"], row["tpr@1%_low"], row["tpr@1%_high"]] == [0.2, 0.1, 0.2]
    assert pd.isna(row["tpr@0.1%"])
    assert (row["seconds-per-model"], row["relative-to-ce"]) == (2.0, 1.5)
    assert (row["relative-to-ce_low"], row["relative-to-ce_high"]) == (0.7, 3.0)


def test_cells_are_all_records_as_they_come():
    table = leaderboard.cells([record("b", "lira"), record("a", "lira", failed="it broke"), record("a", "entropy")])
    assert list(zip(table["defense"], table["attack"], strict=True)) == [
        ("b", "lira"),
        ("a", "lira"),
        ("a", "entropy"),
    ]
    assert list(table["note"]) == ["", "lira failed: it broke", ""]


def test_the_title_names_the_data():
    data = Data(name="blobs", fingerprint="f", classes=2, pool=1, reference=1, validation=1, test=1, duplicates=0)
    assert leaderboard.title(record()) == "digits"
    assert leaderboard.title(record(task=component("npz:epochs=3"), data=data)) == "npz(blobs):epochs=3"


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.none() | st.floats(0, 1)),
        min_size=1,
        max_size=12,
        unique_by=lambda row: row[:2],
    ),
    st.randoms(use_true_random=False),
)
def test_ranks_follow_the_worst_case_whatever_the_order(rows, random):
    records = [record(defense, attack, tpr) for defense, attack, tpr in rows]
    found = ranks(records)
    met = {name: {attack for d, attack, _ in rows if d == name} for name in found}
    compared = set.intersection(*met.values())
    worst = {name: [t for d, a, t in rows if d == name and a in compared and t is not None] for name in found}
    for name, values in worst.items():
        safer = sum(max(other) < max(values) for other in worst.values() if other) if values else None
        assert found[name] == (None if safer is None else 1 + safer)
    random.shuffle(records)
    assert ranks(records) == found


def test_of_two_records_of_a_cell_the_newest_counts():
    old, new = (record(tpr=tpr, created=dt.datetime(2026, month, 1)) for tpr, month in ((0.1, 1), (0.2, 2)))  # noqa: DTZ001
    for records in ([old, new], [new, old]):
        row = only(leaderboard.frame(records))
        assert row["tpr@1%"] == 0.2
        assert row["attacks"] == 1


def test_rates_on_few_false_positives_are_named():
    made = record()
    made.metrics.tpr_at_fpr[1] = made.metrics.tpr_at_fpr[1].model_copy(update={"supported": "barely"})
    assert only(leaderboard.frame([made]))["barely-supported"] == "tpr@0.1%"


def test_duplicates_are_said_with_the_setting():
    data = Data(name="d", fingerprint="g", classes=2, pool=18, reference=1, validation=1, test=1, duplicates=4)
    assert "4 duplicated examples" in only(leaderboard.frame([record(data=data)]))["setting"]
    assert "duplicated" not in only(leaderboard.frame([record()]))["setting"]


def test_a_generator_that_collapsed_is_said():
    assert only(leaderboard.frame([record(facts={"collapsed_classes": 0.0})]))["note"] == ""
    note = only(leaderboard.frame([record(facts={"collapsed_classes": 1.25})]))["note"]
    assert note == "its generators collapsed on 1.2 of 2 classes on average"


def test_a_defense_that_missed_its_own_criteria_is_marked_in_every_table():
    missed = ["rank is 0.75, where at most 0.5 would mean: low ranks", "kept is 0.1, where ..."]
    note = f"it did not do what it is meant to, by its models' mean facts: {', '.join(missed)}"
    records = [record("fake-data", facts={"rank": 0.75}, unmet=missed), record("ce")]
    for table in (leaderboard.frame(records), leaderboard.cells(records)):
        rows = table.set_index("defense")
        assert rows["unmet"].to_dict() == {"fake-data": 2, "ce": 0}
        assert rows["note"].to_dict() == {"fake-data": note, "ce": ""}
        shown = export(table, "md")
        assert "| fake-data ! |" in shown
        assert "| ce |" in shown
        assert f"- fake-data: {note}" in shown
        assert "- !: by its own measurements, the defense did not do what it is meant to do" in shown
        assert "fake-data !" not in export(table, "csv")
    assert "!" not in export(leaderboard.frame([record()]), "md")


def test_releases_that_claim_different_epsilons_are_named():
    def note(*epsilons, stated=True):
        names = ("epsilon_smallest", "epsilon_median", "epsilon_largest")
        claims = Claims(release=0, releases=8, **dict(zip(names, epsilons, strict=True)))
        facts = {"epsilon": epsilons[-1]} if stated else {}
        return only(leaderboard.frame([record(claims=claims, facts=facts)]))["note"]

    assert note(8.0, 8.0, 8.0) == ""
    assert note(2.0, 4.71, 455.7).startswith(
        "its models claim epsilon 2 to 456, median 4.71; the table has the largest"
    )
    assert "1 to inf" in note(1.0, 2.0, float("inf"))
    for smallest in (1.0, 2.0):
        assert "others claim none, so that the table has none" in note(smallest, 2.0, 2.0, stated=False)


def test_an_attack_that_does_not_apply_is_no_failure():
    row = only(leaderboard.frame([record(), record(attack="r", status="n/a", reason="no data", metrics=None)]))
    assert row["note"] == "r does not apply: no data"
    assert (row["attacks"], row["failed"], row["rank"]) == (1, 0, 1)


# Reconstruction attacks


def likeness(value):
    return Likeness(**dict.fromkeys(Likeness.model_fields, estimate(value)))


def reconstruction(defense="ce", attack="inversion", value=0.4, **changes):
    """A record of a reconstruction attack all of whose numbers are `value`."""
    found = Reconstruction(
        attack=likeness(value),
        heldout=likeness(0.9),
        noise=likeness(0.1),
        untrained=likeness(0.2),
        evaluator="cnn",
        evaluator_accuracy=estimate(0.875),
        detector="an eye",
        per_class_accuracy=[value, value],
    )
    return record(defense, attack, family="reconstruction", **{"metrics": None, "reconstruction": found, **changes})


def broken(defense="ce", attack="inversion"):
    return reconstruction(defense, attack, status="failed", reason="it broke", reconstruction=None, utility=None)


def test_reconstructions_stand_above_their_controls_undefended_first():
    table = leaderboard.reconstructions([reconstruction("a"), reconstruction("ce", value=0.6)])
    assert list(zip(table["kind"], table["defense"], table["attack"], table["accuracy"], strict=True)) == [
        ("attack", "ce", "inversion", 0.6),
        ("attack", "a", "inversion", 0.4),
        ("control", "(control)", "real test images", 0.9),
        ("control", "(control)", "uniform noise", 0.1),
        ("control", "(control)", "inversion, untrained nets", 0.2),
    ]
    assert list(table["psnr-member_low"]) == [0.3, 0.2, 0.45, 0.05, 0.1]
    assert table["test-accuracy"].tolist()[:2] == [0.7, 0.7]
    assert table["test-accuracy"].isna().tolist() == [False, False, True, True, True]
    assert table["setting"].nunique() == 1
    assert table["setting"][0].endswith("; E: cnn, test accuracy 87.5 %; detected by: an eye")


def test_the_untrained_control_belongs_to_an_attack():
    table = leaderboard.reconstructions([reconstruction(attack="inversion:tv=1"), reconstruction()])
    controls = table[table["kind"] == "control"]["attack"].tolist()
    assert controls == [
        "real test images",
        "uniform noise",
        *(f"{a}, untrained nets" for a in ("inversion", "inversion:tv=1")),
    ]


def test_membership_tables_know_nothing_of_reconstructions():
    records = [record(), reconstruction(), reconstruction("b"), broken("c"), record("b")]
    table = leaderboard.frame(records)
    assert table["defense"].tolist() == ["b", "ce"]
    assert table["note"].tolist() == ["", ""]
    assert table["failed"].tolist() == [0, 0]
    assert leaderboard.cells(records)["attack"].tolist() == ["lira", "lira"]
    assert leaderboard.frame([reconstruction()]).empty
    assert leaderboard.reconstructions([record()]).empty


def test_a_failed_reconstruction_is_a_row_with_a_reason():
    table = leaderboard.reconstructions([broken("a"), reconstruction("b")])
    row = table.to_dict("records")[0]
    assert (row["defense"], row["note"]) == ("a", "inversion failed: it broke")
    assert pd.isna(row["accuracy"])
    assert len(table) == 5
    assert table["setting"].nunique() == 1
    assert leaderboard.reconstructions([broken()])["kind"].tolist() == ["attack"]


def test_settings_of_reconstructions_have_their_own_controls():
    table = leaderboard.reconstructions([reconstruction(), reconstruction(models=8)])
    assert table["kind"].tolist() == ["attack", "control", "control", "control"] * 2


def test_of_two_reconstructions_of_a_cell_the_newest_counts():
    old, new = (reconstruction(value=v, created=dt.datetime(2026, month, 1)) for v, month in ((0.1, 1), (0.2, 2)))  # noqa: DTZ001
    assert leaderboard.reconstructions([new, old])["accuracy"][0] == 0.2


def with_members(members, models, **changes):
    """A record of utility that counts so many members of 18 in each of some models."""
    one = record("ce", "lira", 0.5, **changes)
    sizes = {"train_accuracy": members, "nonmember_accuracy": one.data.pool - members}
    counted = {name: estimate(0.9).model_copy(update={"n": size * models}) for name, size in sizes.items()}
    return one.model_copy(update={"utility": one.utility.model_copy(update=counted)})


@pytest.mark.parametrize("models", [1, 4])
@pytest.mark.parametrize(("members", "text"), [(9, "half of it members"), (7, "7 of them members")])
def test_a_setting_says_how_many_are_members_of_one_target(models, members, text):
    """Utility counts all models, of which some may not be targets; of given predictions it counts the target alone."""
    for targets in (1, 4):
        assert text in only(leaderboard.frame([with_members(members, models, targets=targets)]))["setting"]


def test_a_failed_row_does_not_split_a_setting():
    table = leaderboard.frame([with_members(7, 1), record("bad", failed="nan")])
    assert table["setting"].nunique() == 1
    assert "7 of them members" in table["setting"][0]


def test_what_an_attack_found_besides_stands_by_its_row():
    found = {
        "rate": Estimate(value=0.5214, low=0.5, high=0.54, n=4),
        "alone": Estimate(value=1, low=None, high=None, n=1),
    }
    one = record("ce", "lira", 0.5).model_copy(update={"findings": found})
    (row,) = leaderboard.cells([one]).to_dict("records")
    assert row["findings"] == "rate 0.521 [0.500, 0.540], alone 1.000"
    assert "- ce: lira found rate 0.521 [0.500, 0.540], alone 1.000\n" in export(leaderboard.cells([one]), "md")
    assert "found" not in export(leaderboard.frame([one]), "md")


def canaries(tpr, supported="yes"):
    point = {"threshold": 0.0, "false_positives": 1, "members": 9, "nonmembers": 9}
    points = [OperatingPoint(fpr=0.01, tpr=estimate(tpr), supported=supported, **point)]
    return Canaries(kind="mislabelled", count=6, tpr_at_fpr=points, auc=estimate(0.8))


def test_canaries_are_shown_as_the_attack_that_bites_them_most_finds_them():
    """The strongest attack on the average may be blind to outliers; then it must not hide what another sees."""
    table = leaderboard.frame(
        [
            record("a", "lira", 0.2, canaries=canaries(0.3)),
            record("a", "label-only", 0.1, canaries=canaries(0.7, "barely")),
        ]
    )
    row = only(table)
    assert (row["attack"], row["tpr@1%"]) == ("lira", 0.2)
    assert (row["canary-attack"], row["canary-tpr@1%"], row["canary-auc"]) == ("label-only", 0.7, 0.8)
    assert row["barely-supported"] == "canary-tpr@1%"


def test_a_defense_that_guards_the_average_and_exposes_outliers_looks_that_way():
    table = leaderboard.frame(
        [record("ce", "lira", 0.3, canaries=canaries(0.5)), record("guard", "lira", 0.02, canaries=canaries(0.9))],
    )
    assert list(table["defense"]) == ["guard", "ce"]
    assert list(table["canary-tpr@1%"]) == [0.9, 0.5]
    by_canaries = leaderboard.frame(
        [record("ce", "lira", 0.3, canaries=canaries(0.5)), record("guard", "lira", 0.02, canaries=canaries(0.9))],
        rank_by="canary-tpr@1%",
    )
    assert list(by_canaries["defense"]) == ["ce", "guard"]


def test_failed_and_whole_cells_with_canaries_share_a_setting():
    whole, failed = record("a", canaries=canaries(0.3)), record("b", failed="nan")
    assert len(set(leaderboard.frame([whole, failed])["setting"])) == 1


def test_an_epsilon_is_shown_with_its_delta():
    row = only(leaderboard.frame([record(facts={"epsilon": 8.0, "delta": 1e-5})]))
    assert (row["epsilon"], row["delta"]) == (8.0, 1e-5)
