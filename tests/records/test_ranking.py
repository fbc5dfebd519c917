"""A defense is ranked by its strongest attack, among attacks that all rows met."""

import pandas as pd
import pytest

from privbench.records import leaderboard
from privbench.records.parts import Canaries, Component, Data, Selection
from privbench.records.record import Record
from privbench.report.tables import export
from privbench.stats.intervals import Estimate, unavailable
from privbench.stats.metrics import Metrics
from privbench.stats.roc import OperatingPoint

DATA = Data(name="digits", fingerprint="f", classes=2, pool=18, reference=1, validation=1, test=1, duplicates=0)


AUCS = {"entropy": 0.51, "lira": 0.9}


def component(spec, source="s"):
    return Component(spec=spec, name=spec.partition(":")[0], plugin="privbench", source=source)


def record(defense, attack="lira", tpr=0.1, *, failed="", code="s", models="s", **changes):
    """A record with this TPR, or failed for a reason; code and models: sources of attack and defense."""
    found = Estimate(value=tpr, low=tpr / 2, high=tpr, n=9)
    counts = {"threshold": 0.0, "false_positives": 1, "members": 9, "nonmembers": 9, "supported": "yes"}
    measured = Metrics.model_construct(
        tpr_at_fpr=[OperatingPoint(fpr=0.01, tpr=found, **counts)],
        auc=found,
        balanced_accuracy=found,
        oracle_balanced_accuracy=found,
    )
    about = {
        "task": component("digits"),
        "data": DATA,
        "defense": component(defense, models),
        "attack": component(attack, code),
        "threat_model": "logits",
        **dict(zip(("models", "targets", "shadows"), (4, 4, 2), strict=True)),
        "seed": 0,
        "device": "cpu",
        "status": "failed" if failed else "ok",
        "reason": failed,
        "metrics": None if failed else measured,
    }
    return Record.model_construct(**{**about, **changes})


def ranks(records, **options):
    table = leaderboard.frame(records, **options)
    return {row["defense"]: None if pd.isna(row["rank"]) else row["rank"] for row in table.to_dict("records")}


def only(table):
    (row,) = table.to_dict("records")
    return row


def notes(table):
    return dict(zip(table["defense"], table["note"], strict=True))


def selection(*attacks, band=(0.05, 0.5)):
    names = ("tpr@1%", "auc", "balanced-accuracy")
    return Selection(attacks=list(attacks), resamples=9, bands=dict.fromkeys(names, band), critical={})


# Which attacks


def test_the_strongest_does_not_depend_on_which_attacks_were_run():
    """Without rmia relaxloss looks safer than it is; that it was not run there must not make ce look worse."""
    records = [record("ce", "lira", 0.066), record("ce", "rmia", 0.09), record("relaxloss", "lira", 0.034)]
    table = leaderboard.frame(records)
    assert list(zip(table["defense"], table["tpr@1%"], table["attack"], strict=True)) == [
        ("relaxloss", 0.034, "lira"),
        ("ce", 0.066, "lira"),
    ]
    assert set(table["compared"]) == {"lira"}
    assert "ranked by TPR at 1 % FPR of lira, safest first" in export(table, "md")
    assert notes(table) == {
        "ce": "rmia, which is not compared here, finds more: tpr@1% 9.0 %",
        "relaxloss": "not attacked by rmia",
    }


def test_a_declared_attack_that_a_row_lacks_takes_its_rank():
    records = [record("ce", "lira", 0.066), record("ce", "rmia", 0.05), record("relaxloss", "lira", 0.034)]
    table = leaderboard.frame(records, attacks=["lira", "rmia"])
    assert list(table["defense"]) == ["ce", "relaxloss"], "a row that lacks an attack is never above one that has it"
    assert ranks(records, attacks=["lira", "rmia"]) == {"ce": 1, "relaxloss": None}
    assert list(table["lacks"]) == ["", "rmia"]
    assert notes(table)["relaxloss"] == "no rank, for it may leak more than is known: rmia was not run"
    assert "of the strongest of lira, rmia" in export(table, "md")


@pytest.mark.parametrize("attacks", [None, ["lira", "rmia"]])
def test_a_failed_attack_is_lacking_and_spoils_its_own_row_only(attacks):
    records = [record("ce", "lira", 0.1), record("ce", "rmia", 0.2)]
    records += [record("bad", "lira", 0.01), record("bad", "rmia", failed="scores are NaN")]
    table = leaderboard.frame(records, attacks=attacks)
    assert ranks(records, attacks=attacks) == {"ce": 1, "bad": None}
    assert table["attack"][0] == "rmia"
    assert "rmia failed: scores are NaN" in notes(table)["bad"]
    assert list(table["lacks"]) == ["", "rmia"]


@pytest.mark.parametrize("attacks", [None, ["lira", "gan-leaks"]])
def test_an_attack_that_does_not_apply_is_not_lacking(attacks):
    records = [record("ce", "lira", 0.1), record("ce", "gan-leaks", status="n/a", reason="no data", metrics=None)]
    records += [record("fake", "lira", 0.05), record("fake", "gan-leaks", 0.2)]
    assert ranks(records, attacks=attacks) == {"ce": 1, "fake": 2}
    assert set(leaderboard.frame(records, attacks=attacks)["lacks"]) == {""}


def unsupported(attack, auc, **changes):
    """A record of few examples: no TPR, but an AUC."""
    found = Estimate(value=auc, low=auc / 2, high=auc, n=9)
    metrics = Metrics.model_construct(
        tpr_at_fpr=[], auc=found, balanced_accuracy=unavailable("none"), oracle_balanced_accuracy=found
    )
    return record("ce", attack, metrics=metrics, **changes)


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        ("tpr@1%", "the examples are too few to support tpr@1%"),
        ("tpr@0.1%", "the examples are too few to support tpr@0.1%"),
        ("balanced-accuracy", "no attack makes decisions"),
        ("canary-tpr@1%", "the pool has no canaries"),
    ],
)
def test_where_no_attack_has_the_number_that_ranks_the_strongest_by_auc_is_shown(by, reason):
    """Not the first in the alphabet, which may find nothing."""
    row = only(leaderboard.frame([unsupported("entropy", 0.51), unsupported("lira", 0.9)], rank_by=by))
    assert (row["attack"], row["auc"], row["note"]) == ("lira", 0.9, f"no rank: {reason}")
    assert pd.isna(row["rank"])
    assert "auc" in row["alone"].split(), "it was chosen, by a number whose bands are unknown"


def test_the_interval_of_what_is_shown_without_a_rank_accounts_for_the_choice():
    bands = {attack: selection("entropy", "lira", band=(0.4, high)) for attack, high in (("entropy", 0.7), ("lira", 1))}
    row = only(leaderboard.frame([unsupported(name, auc, selection=bands[name]) for name, auc in AUCS.items()]))
    assert (row["attack"], row["auc_low"], row["auc_high"], row["alone"]) == ("lira", 0.4, 1.0, "")


def test_of_few_canaries_those_of_the_attack_with_the_highest_auc_are_shown():
    def few(auc):
        return Canaries(kind="ood", count=6, tpr_at_fpr=[], auc=Estimate(value=auc, low=0.1, high=1.0, n=9))

    records = [record("ce", name, 0.1, canaries=few(auc)) for name, auc in AUCS.items()]
    row = only(leaderboard.frame(records, rank_by="canary-tpr@1%"))
    assert (row["canary-attack"], row["canary-auc"]) == ("lira", 0.9)
    assert row["note"] == "no rank: the examples are too few to support canary-tpr@1%"


def test_an_attack_that_failed_everywhere_ranks_nobody_and_hinders_nobody():
    records = [record(name, "lira", 0.1) for name in "ab"] + [record(name, "broken", failed="bug") for name in "ab"]
    assert ranks(records) == {"a": 1, "b": 1}
    assert ranks(records, attacks=["lira", "broken"]) == {"a": None, "b": None}
    only_broken = export(leaderboard.frame([record("a", "broken", failed="bug")]), "md")
    assert "not ranked: no attack with a result was run against every defense" in only_broken


def test_options_make_another_attack():
    records = [record("ce", "lira", 0.1), record("b", "lira:mode=offline", 0.05)]
    assert ranks(records) == {"ce": None, "b": None}
    assert "not ranked: no attack with a result was run against every defense" in export(
        leaderboard.frame(records), "md"
    )
    assert ranks(records, attacks=["lira:mode=offline"]) == {"b": 1, "ce": None}


def test_the_attack_that_is_shown_of_a_row_without_a_rank_is_the_strongest_that_was_run():
    """Not the first in the alphabet; and being chosen it has no interval of its own."""
    found = [record("ce", "confidence", 0.01), record("ce", "rmia", 0.05), record("ce", "gan-leaks", failed="bug")]
    for declared in (["lira"], ["gan-leaks"]):
        row = only(leaderboard.frame(found, attacks=declared))
        assert (row["attack"], row["tpr@1%"], row["among"]) == ("rmia", 0.05, 2)
        assert "tpr@1%" in row["alone"].split()
        assert pd.isna(row["rank"])
    inapplicable = [*found[:2], record("ce", "gan-leaks", status="n/a", reason="no data", metrics=None)]
    row = only(leaderboard.frame(inapplicable, attacks=["gan-leaks"]))
    assert (row["attack"], pd.isna(row["rank"])) == ("rmia", True)


def test_declared_attacks_that_nobody_met_rank_nobody():
    row = only(leaderboard.frame([record("ce", "lira", 0.1)], attacks=["rmia"]))
    assert pd.isna(row["rank"])
    assert (row["attack"], row["tpr@1%"], row["lacks"]) == ("lira", 0.1, "rmia")


def test_where_no_declared_attack_applies_there_is_no_rank_and_another_attack_gives_none():
    records = [record("ce", "lira", 0.1), record("ce", "gan-leaks", status="n/a", reason="no data", metrics=None)]
    row = only(leaderboard.frame(records, attacks=["gan-leaks"]))
    assert pd.isna(row["rank"])
    assert row["note"].startswith("no rank: none of the attacks that rank applies; ")


# Which records


def test_an_attack_of_other_code_is_another_attack():
    """Of an attack that was edited between two runs the newer code counts, and rows that met the older lack it."""
    old = [record(name, "lira", 0.01, created=pd.Timestamp("2026-01-01")) for name in ("a", "b")]
    new = record("c", "lira", 0.2, created=pd.Timestamp("2026-02-01"), code="edited")
    assert ranks([*old, new]) == {"a": None, "b": None, "c": None}, "nothing is common"
    assert ranks([*old, new], attacks=["lira"]) == {"c": 1, "a": None, "b": None}
    assert "lira is of other code" in notes(leaderboard.frame([*old, new], attacks=["lira"]))["a"]


def test_models_of_other_code_are_another_row():
    records = [record("relaxloss", "lira", 0.1), record("relaxloss", "rmia", 0.3, models="edited")]
    table = leaderboard.frame(records)
    assert list(table["tpr@1%"]) == [0.1, 0.3], "the strongest is not picked across two generations of models"
    assert all("models are of code" in note for note in table["note"])


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": {"torch": "2.14", "processor": "x"}},
        {"environment": {"torch": "2.13", "processor": "y"}},
        {"environment": {"torch": "2.13", "processor": "x", "privbench": "0.2"}},
        {"schema_version": 1},
        {"task": component("digits", "edited")},
    ],
    ids=str,
)
def test_other_code_libraries_and_machines_are_ranked_apart_and_named(changes):
    first = record("a", "lira", 0.1, environment={"torch": "2.13", "processor": "x", "python": "3.10"})
    second = record("b", "lira", 0.2, **{"environment": first.environment, **changes})
    table = leaderboard.frame([first, second])
    assert list(table["rank"]) == [1, 1]
    assert table["setting"].nunique() == 2
    assert all("; only records with " in setting for setting in table["setting"])
    assert leaderboard.apart([first, second])[0][0] == "digits"


def test_python_and_the_kernel_make_no_difference():
    environments = [
        {"python": p, "platform": k, "processor": "x"} for p, k in (("3.10", "Linux-5"), ("3.13", "Linux-6"))
    ]
    records = [record(name, environment=each) for name, each in zip("ab", environments, strict=True)]
    assert leaderboard.frame(records)["setting"].nunique() == 1
    assert leaderboard.apart(records) == []
    without = [{name: text for name, text in each.items() if name != "processor"} for each in environments]
    unknown = [record(name, environment=each) for name, each in zip("ab", without, strict=True)]
    assert leaderboard.apart(unknown) == [("digits", "platform")], "all that is known of the machine"


# The interval of the strongest


def test_the_strongest_has_the_band_that_accounts_for_the_choice():
    both = ("lira", "rmia")
    records = [
        record("ce", "lira", 0.2, selection=selection(*both, band=(0.1, 0.3))),
        record("ce", "rmia", 0.15, selection=selection(*both, band=(0.05, 0.35))),
    ]
    row = only(leaderboard.frame(records))
    assert (row["tpr@1%"], row["tpr@1%_low"]) == (0.2, 0.1)
    assert row["tpr@1%_high"] == 0.35, "in truth the strongest may be the other one"
    assert (row["auc_low"], row["auc_high"]) == (0.1, 0.3)
    assert row["alone"] == ""
    text = export(leaderboard.frame(records), "md")
    assert "of the strongest of lira, rmia, with intervals that account for the choice; safest first" in text
    assert "20.0 [10.0, 35.0] |" in text
    cell = leaderboard.cells(records).to_dict("records")[0]
    assert (cell["tpr@1%_low"], cell["tpr@1%_high"]) == (0.1, 0.2), "a cell has the interval of its attack alone"
    assert "each of one attack alone" in export(leaderboard.cells(records), "md")


def test_bands_of_more_attacks_hold_for_fewer_and_not_the_other_way_round():
    three = [record("ce", a, 0.2, selection=selection("lira", "rmia", "entropy")) for a in ("lira", "rmia")]
    assert only(leaderboard.frame(three))["alone"] == ""
    two = [record("ce", a, 0.2, selection=selection("lira", "rmia")) for a in ("lira", "rmia", "entropy")]
    assert only(leaderboard.frame(two))["alone"].split() == ["tpr@1%", "auc", "balanced-accuracy"]


def test_an_interval_of_the_chosen_attack_alone_is_marked():
    table = leaderboard.frame([record("ce", "lira", 0.2), record("ce", "rmia", 0.15)])
    row = only(table)
    assert row["alone"].split() == ["tpr@1%", "auc", "balanced-accuracy"]
    assert (row["tpr@1%_low"], row["tpr@1%_high"]) == (0.1, 0.2)
    text = export(table, "md")
    assert "20.0 [10.0, 20.0]* |" in text
    assert "- *: interval of this attack alone" in text
    assert "account for the choice; safest" not in text


def test_a_caption_says_nothing_of_a_choice_that_no_row_had():
    table = leaderboard.frame([record("ce", "lira", 0.2)], attacks=["lira", "rmia"])
    assert "choice" not in export(table, "md")
    assert export(table, "csv", ["lacks", "among"]).splitlines()[1].endswith(",rmia,1")


def test_of_one_attack_nothing_is_chosen():
    records = [record("ce", "lira", 0.2), record("ce", "gan-leaks", status="n/a", reason="no data", metrics=None)]
    assert only(leaderboard.frame(records))["alone"] == ""
