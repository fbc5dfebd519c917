from __future__ import annotations

import csv
import io
import json
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from privbench.errors import UsageError
from privbench.records import leaderboard
from privbench.report import columns, tables

NUMBERS = {
    "tpr@1%": (0.031, 0.006, 0.059),
    "tpr@0.1%": None,
    "auc": (0.5464, 0.4831, 0.6094),
    "balanced-accuracy": (0.51, 0.46, 0.559),
    "oracle-balanced-accuracy": (0.561, 0.521, 0.602),
    "test-accuracy": (0.745, 0.708, 0.78),
    "train-accuracy": (0.847, 0.808, 0.881),
}
WITH_CANARIES = {**NUMBERS, "canary-tpr@1%": (0.42, 0.35, 0.5)}
THREAT = "logits, queries augmented as in training, adaptive shadows"


def row(rank=1, defense="ce", attack="lira", numbers=NUMBERS, **changes):
    found = {
        "rank": rank,
        "task": "digits",
        "setting": "16 models",
        "defense": defense,
        "attack": attack,
        "seconds-per-model": 1.234,
        "relative-to-ce": 1.0,
        "relative-to-ce_low": 0.5,
        "relative-to-ce_high": 2.0,
        "canary-attack": None,
        "epsilon": None,
        "delta": None,
        "threat-model": THREAT,
        "barely-supported": "",
        "note": "",
        "compared": "lira",
        "lacks": "",
        "among": 1,
        "alone": "",
        "attacks": 1,
        "failed": 0,
    }
    for name in leaderboard.NUMBERS:
        ends = numbers.get(name) or (None, None, None)
        found.update(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return {**found, **changes}


def ranked(*rows, by="tpr@1%"):
    table = pd.DataFrame(rows).astype({"rank": "Int64"})
    table.attrs["rank_by"] = by
    return table


def unranked(*rows):
    return pd.DataFrame(rows).drop(columns=["rank", *leaderboard.RANKED_ONLY])


def drawn(table, width):
    """What a terminal of that width shows, without the spaces at the ends of lines."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(tables.render(table))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


FAILED = row(None, "bad", numbers={}, note="lira failed: loss is nan", **{"seconds-per-model": None})
TWO = ranked(row(1, "relaxloss:alpha=0.5"), row(2), FAILED)


# Text


def test_numbers_are_percent_with_their_intervals_but_for_the_auc():
    shown = tables.readable(ranked(row())).to_dict("records")[0]
    assert shown["TPR % at 1 % FPR"] == "3.1 [0.6, 5.9]"
    assert shown["AUC"] == "0.546 [0.483, 0.609]"
    assert shown["TPR % at 0.1 % FPR"] == "n/a"
    assert shown["cost of a model"] == "1.2 s"
    assert shown["attacker sees"] == THREAT


def test_a_failed_row_says_so_and_has_no_rank():
    shown = tables.readable(TWO).to_dict("records")[2]
    assert (shown["#"], shown["AUC"], shown["cost of a model"]) == ("-", "failed", "n/a")


@pytest.mark.parametrize(
    ("seconds", "ratio", "ends", "text"),
    [
        (1.234, 1.0, (0.5, 2.0), "1.2 s"),
        (250.4, 12.34, (6.1, 24.7), "250 s (6.1 to 25 x ce)"),
        (1.3, 0.61, (0.3, 1.2), "1.3 s"),  # noise
        (1.3, 0.1, (0.05, 0.2), "1.3 s (0.05 to 0.2 x ce)"),
        (99.7, 149.6, (None, None), "100 s (75 to 299 x ce)"),
        (1.0, 0.61, (None, None), "1 s"),
        (1.0, 1.7, (None, None), "1 s"),
        (0.5, None, (None, None), "0.5 s"),
        (None, None, (None, None), "n/a"),
    ],
)
def test_costs(seconds, ratio, ends, text):
    names = ("seconds-per-model", "relative-to-ce", "relative-to-ce_low", "relative-to-ce_high")
    table = ranked(row(**dict(zip(names, (seconds, ratio, *ends), strict=True))))
    assert tables.readable(table)["cost of a model"][0] == text


def test_the_oracle_is_shown_of_cells_only():
    assert not any("oracle" in heading for heading in tables.readable(ranked(row())))
    shown = tables.readable(unranked(row()))
    assert shown["oracle bal. acc. %"][0] == "56.1 [52.1, 60.2]"
    assert "#" not in shown


def test_headings_name_the_strongest_attack_only_where_it_is():
    assert "strongest attack" in tables.readable(ranked(row()))
    assert "attack" in tables.readable(unranked(row()))


# Exports


def test_json_gives_back_every_number():
    rows = json.loads(tables.export(TWO, "json"))
    assert [each["rank"] for each in rows] == [1, 2, None]
    again = pd.DataFrame(rows).astype({"rank": "Int64"})
    pd.testing.assert_frame_equal(again[list(TWO)], TWO, check_dtype=False)


def test_csv_holds_plain_numbers():
    rows = list(csv.DictReader(io.StringIO(tables.export(TWO, "csv"))))
    assert [each["rank"] for each in rows] == ["1", "2", ""]
    assert float(rows[0]["tpr@1%"]) == 0.031
    assert rows[0]["tpr@0.1%"] == ""
    assert rows[2]["note"] == "lira failed: loss is nan"


def test_markdown_is_a_table_with_notes():
    text = tables.export(TWO, "md")
    lines = text.splitlines()
    assert lines[0] == "### digits"
    assert lines[2] == "16 models; ranked by TPR at 1 % FPR of lira, safest first"
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1
    assert "- bad: lira failed: loss is nan" in lines
    assert f"- {tables.NA_NOTE}" in lines


def test_markdown_escapes_bars():
    assert "a\\|b" in tables.export(ranked(row(defense="a|b")), "md")


def test_settings_are_tables_of_their_own():
    both = ranked(row(), row(setting="64 models"))
    assert tables.export(both, "md").count("### digits") == 2
    assert tables.export(both, "latex").count(r"\begin{tabular}") == 2


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=20))
def test_latex_escapes_whatever_a_name_holds(name):
    text = tables.export(ranked(row(defense=name)), "latex")
    body = next(line for line in text.splitlines() if line.startswith("1 & "))
    cell = body.removeprefix("1 & ").partition(" & lira")[0]
    left = re.sub(r"^\{[*[]\}|\\(?:[#%&_${}]|text[a-z]+\{\})", "", cell)
    assert not set(left) & set("\\#%&_${}~^<>|")


def test_latex_is_one_tabular_with_as_many_cells_in_each_row():
    lines = tables.export(TWO, "latex").splitlines()
    assert lines[0] == "% digits: 16 models; ranked by TPR at 1 % FPR of lira, safest first"
    columns = len(next(line for line in lines if line.startswith(r"\begin{tabular}")).split("{")[2]) - 1
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines if line.endswith(r" \\")} == {columns}


def test_latex_has_the_rules_of_booktabs_and_numbers_to_the_right():
    lines = tables.export(TWO, "latex", ["rank", "defense", "auc", "threat-model"]).splitlines()
    assert r"\begin{tabular}{rlrl}" in lines
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"% Needs \usepackage{booktabs}." in lines
    assert r"1 & relaxloss:alpha=0.5 & 0.546 [0.483, 0.609] & " + THREAT + r" \\" in lines


def test_markdown_has_numbers_to_the_right():
    lines = tables.export(TWO, "md", ["defense", "auc"]).splitlines()
    assert lines[4:6] == ["| defense | AUC |", "| --- | ---: |"]


@pytest.mark.parametrize("form", tables.FORMATS)
def test_an_unknown_column_gets_the_nearest(form):
    with pytest.raises(UsageError, match=r"No column 'defence'\. Did you mean 'defense'\? Columns: rank, "):
        tables.export(TWO, form, ["defence"])


def test_columns_that_were_chosen_are_not_left_out_of_a_narrow_terminal():
    chosen = ["defense", "tpr@1%", "tpr@0.1%", "auc", "balanced-accuracy", "train-accuracy"]
    console = Console(width=60, file=io.StringIO())
    console.print(tables.render(TWO, columns=chosen))
    assert "Left out" not in console.file.getvalue()


def test_plain_columns_come_with_the_ends_of_their_intervals():
    rows = list(csv.DictReader(io.StringIO(tables.export(TWO, "csv", ["defense", "auc", "cost"]))))
    numbers = ["auc", "auc_low", "auc_high", "seconds-per-model", "relative-to-ce"]
    assert list(rows[0]) == ["task", "setting", "defense", *numbers]


def test_a_chosen_column_is_there_under_its_heading_whatever_else_the_table_shows():
    """A cell has a cost as a row has, and 70 under "test-accuracy" would not say that it is percent."""
    cells = tables.readable(unranked(row()), ["defense", "test-accuracy", "cost"])
    assert list(cells) == ["defense", "test acc. %", "cost of a model"]
    oracle = tables.readable(ranked(row()), ["attack", "oracle-balanced-accuracy"])
    assert list(oracle) == ["strongest attack", "oracle bal. acc. %"]


def test_the_mark_of_few_false_positives_is_explained_only_where_it_stands():
    """Not where the number is n/a, or its column is left out or not chosen."""
    table = ranked(row(**{"barely-supported": "tpr@0.1% tpr@1%"}))
    assert tables.BARELY_NOTE in tables.export(table, "md")
    assert tables.BARELY_NOTE not in tables.export(table, "md", ["defense", "auc"])
    assert tables.BARELY_NOTE not in tables.export(ranked(row(**{"barely-supported": "tpr@0.1%"})), "md")
    assert not any(line.startswith("~") for line in drawn(ranked(row(**{"barely-supported": "tpr@0.1%"})), 80))


def test_what_is_left_out_is_exported_from_the_folders_that_were_read():
    console = Console(width=80, file=io.StringIO())
    console.print(tables.render(TWO, folders=["my results", "other"]))
    assert "All: privbench leaderboard export 'my results' other" in " ".join(console.file.getvalue().split())


def test_a_typo_in_a_format_gets_the_nearest():
    with pytest.raises(UsageError, match=r"No format 'jsn'. Did you mean 'json'\? Use one of md, csv, json, latex"):
        tables.export(TWO, "jsn")


@pytest.mark.parametrize("form", tables.FORMATS)
def test_nothing_is_exported_as_nothing(form):
    text = tables.export(leaderboard.frame([]), form)
    assert "digits" not in text


# In a terminal


def test_with_room_a_row_is_a_line():
    lines = drawn(TWO, 250)
    (line,) = [line for line in lines if "relaxloss" in line]
    assert "3.1 [0.6, 5.9]" in line
    assert THREAT in line
    assert not any("Left out" in each for each in lines)


def test_at_120_columns_a_row_is_two_lines_and_nothing_is_left_out():
    lines = drawn(ranked(row(1, "relaxloss"), row(2)), 120)
    at = next(i for i, line in enumerate(lines) if "relaxloss" in line)
    assert lines[at].split() == ["1", "relaxloss", "lira", "3.1", "n/a", "0.546", "51.0", "74.5", "84.7", "1.2", "s"]
    assert lines[at + 1].split("]")[0].strip() == "[0.6, 5.9"
    assert lines[at + 2].split()[:2] == ["2", "ce"]  # a row takes two lines, no more
    assert f"lira sees: {THREAT}" in lines
    assert not any("Left out" in line for line in lines)


def test_at_80_columns_some_columns_are_left_out_and_named():
    lines = drawn(ranked(row(1, "relaxloss"), row(2)), 80)
    text = " ".join(lines)
    at = next(i for i, line in enumerate(lines) if "relaxloss" in line)
    assert lines[at].split() == ["1", "relaxloss", "lira", "3.1", "0.546", "74.5", "1.2", "s"]
    assert lines[at + 1].split() == ["[0.6,", "5.9]", "[0.483,", "0.609]", "[70.8,", "78.0]"]
    assert lines[at + 2].split()[:2] == ["2", "ce"]
    assert "Left out for lack of room: TPR % at 0.1 % FPR, balanced acc. %, train acc. %." in text
    assert tables.NA_NOTE not in text  # the only n/a is in a column that is left out


@pytest.mark.parametrize("by", leaderboard.RANKINGS)
@pytest.mark.parametrize("width", [40, 60, 80])
def test_what_ranks_is_never_left_out(by, width):
    table = ranked(row(numbers=WITH_CANARIES), by=by)
    gone = " ".join(drawn(table, width)).partition("Left out")[2]
    assert columns.HEADINGS[by].replace("\n", " ") not in gone
    assert "test acc. %" not in gone


def test_long_names_are_broken_where_their_parts_end():
    name = "relaxloss:alpha=0.5,upper=0.9,variant=official_nonimage"
    lines = drawn(ranked(row(defense=name)), 110)
    at = next(i for i, line in enumerate(lines) if "relaxloss" in line)
    shown = [line[2:].strip().partition("  ")[0] for line in lines[at : at + 3]]
    assert shown == ["relaxloss:alpha=0.5,", "upper=0.9,", "variant=official_nonimage"]


def test_a_long_name_without_options_is_broken_at_hyphens():
    rows = [row(defense="adversarial-regularisation", numbers=WITH_CANARIES, **{"canary-attack": "calibrated-loss"})]
    text = "\n".join(drawn(ranked(*rows), 80))
    assert "adversarial-" in text
    assert " regularisation" in text
    assert "[0.6, 5.9]" in text


def test_attacks_that_see_the_same_share_a_line():
    rows = [row(attack=name, **{"threat-model": "logits"}) for name in ("entropy", "confidence", "entropy")]
    assert "entropy, confidence see: logits" in drawn(unranked(*rows), 100)


@pytest.mark.parametrize("width", [80, 120, 10_000])
def test_notes_stand_below(width):
    text = " ".join(drawn(TWO, width))
    assert "bad: lira failed: loss is nan" in text
    assert "ranked by TPR at 1 % FPR of lira, safest first" in text
    assert tables.NA_NOTE in text


def test_markup_in_names_is_text():
    assert any("[red]x" in line for line in drawn(ranked(row(defense="[red]x")), 200))


@given(st.integers(30, 300), st.lists(st.sampled_from([row(1), row(2, "a+" * 20 + "b"), FAILED]), max_size=4))
def test_no_line_is_wider_than_the_terminal(width, rows):
    if rows:
        drawn(ranked(*rows), width)


def test_what_few_examples_barely_support_is_marked_and_explained():
    table = ranked(row(**{"barely-supported": "tpr@1%"}))
    text = tables.export(table, "md")
    assert "| ~3.1 [0.6, 5.9] |" in text
    assert "fewer than 10 false positives" in text
    assert "~" not in tables.export(ranked(row()), "md")


# Reconstruction attacks


def made(kind="attack", defense="ce", attack="inversion", **changes):
    found = {"task": "digits", "setting": "4 models", "kind": kind, "defense": defense, "attack": attack}
    for name in leaderboard.LIKENESS:
        value = {"distance-ratio": 0.987, "feature-distance": 7.216}.get(name, 12.34 if "psnr" in name else 0.456)
        found.update(zip((name, f"{name}_low", f"{name}_high"), (value, value / 2, value * 2), strict=True))
    return {**found, "threat-model": "white box" if kind == "attack" else "", "note": "", **changes}


NO_TEST = dict.fromkeys(("test-accuracy", "test-accuracy_low", "test-accuracy_high"))
IMAGES = pd.DataFrame(
    [
        made(),
        made(defense="relaxloss"),
        made(defense="bad", accuracy=None, note="inversion failed: boom"),
        *(
            made("control", "(control)", what, **NO_TEST)
            for what in ("real test images", "uniform noise", "inversion, untrained nets")
        ),
    ]
)


def test_numbers_of_images_have_their_own_units():
    shown = tables.readable(IMAGES).to_dict("records")
    assert shown[0]["recognised by E %"] == "45.6 [22.8, 91.2]"
    assert shown[0]["distance ratio"] == "0.987 [0.493, 1.974]"
    assert shown[0]["feature distance"] == "7.22 [3.61, 14.43]"
    assert shown[0]["PSNR dB to non-member"] == "12.3 [6.2, 24.7]"
    assert shown[0]["SSIM to class mean"] == "0.46 [0.23, 0.91]"
    assert shown[2]["recognised by E %"] == "failed"
    assert [row["test acc. %"] for row in shown[2:4]] == ["45.6 [22.8, 91.2]", ""]


def test_no_number_of_a_record_is_left_out():
    assert set(leaderboard.LIKENESS) <= set(columns.RECONSTRUCTED)
    assert set(columns.DISPENSABLE) <= set(columns.RECONSTRUCTED)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200, 400])
def test_images_fit_the_terminal_and_the_caption_says_what_is_worse(width):
    lines = drawn(IMAGES, width)
    text = " ".join(lines)
    assert "worse for privacy: higher shares" in re.sub(r"\s+", " ", text)
    assert "ratio" in text
    assert "recognised" in text
    assert sum(line.startswith(("inversion sees", "inversion see")) for line in lines) == (width < 400)
    assert not any(line.startswith(" see") for line in lines)
    assert "bad: inversion failed: boom" in lines


@pytest.mark.parametrize("form", ["md", "latex"])
def test_both_tables_are_exported_to_read(form):
    both = tables.export_all([TWO, IMAGES], form)
    assert both == tables.export(TWO, form) + "\n" + tables.export(IMAGES, form)
    assert tables.export_all([TWO, IMAGES[:0]], form) == tables.export(TWO, form)
    assert tables.export_all([TWO[:0], IMAGES], form) == tables.export(IMAGES, form)


def test_csv_and_json_tell_the_families_apart():
    rows = list(csv.DictReader(io.StringIO(tables.export_all([TWO, IMAGES], "csv"))))
    assert [row["family"] for row in rows] == ["membership"] * 3 + ["reconstruction"] * 6
    assert (rows[0]["rank"], rows[3]["rank"], rows[3]["distance-ratio"]) == ("1", "", "0.987")
    found = json.loads(tables.export_all([TWO, IMAGES], "json"))
    assert found[0]["tpr@1%"] == 0.031
    assert found[4]["defense"] == "relaxloss"
    assert "family" not in json.loads(tables.export_all([TWO, IMAGES[:0]], "json"))[0]


def test_what_is_noted_of_several_attacks_is_said_once():
    same = "does not apply: ce publishes no synthetic examples"
    rows = [row(None, "ce", attack=name, numbers={}, note=f"{name} {same}") for name in ("gan-leaks", "real-vs-fake")]
    rows += [row(None, "ce", attack="lira", numbers={}, note="not attacked by lira")]
    text = tables.export(ranked(*rows), "md")
    assert "- ce: gan-leaks, real-vs-fake do not apply: ce publishes no synthetic examples\n" in text
    assert "- ce: not attacked by lira\n" in text


def test_canaries_and_epsilon_have_columns_only_where_some_row_has_them():
    some = row(numbers=WITH_CANARIES, **{"canary-attack": "label-only", "epsilon": 8.0, "delta": 1e-5})
    text = tables.export(ranked(row(2), some), "md")
    assert "canaries' TPR % at 1 % FPR | canaries' attack" in text
    assert "| 42.0 [35.0, 50.0] | label-only |" in text
    assert "| 8 (1e-05) |" in text
    assert "| - |" in text, "a defense that promises no epsilon"
    without = tables.export(ranked(row()), "md")
    assert "canar" not in without
    assert "epsilon" not in without
    cells = tables.export(unranked(some), "md")
    assert "canaries' TPR" in cells
    assert "canaries' attack" not in cells, "a cell has one attack"


@pytest.mark.parametrize(("epsilon", "text"), [(float("inf"), "| inf (1e-05) |"), (0.98765, "| 0.988 (1e-05) |")])
def test_an_epsilon_has_three_digits(epsilon, text):
    assert text in tables.export(ranked(row(epsilon=epsilon, delta=1e-5)), "md")


HOSTILE = "\x1b[2Jx\n| =1+1 | <img src=x> \\input{y} \u202e"


def hostile():
    return pd.DataFrame(
        [row(defense=HOSTILE, attack=f"={HOSTILE}", task=HOSTILE, setting=f"@{HOSTILE}", note=HOSTILE)]
    ).assign(**{"threat-model": HOSTILE})


def test_names_from_outside_are_texts_in_every_format():
    found = {form: tables.export(hostile(), form) for form in ("md", "latex", "csv")}
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(tables.render(hostile()))
    for text in (*found.values(), console.export_text()):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "<img" not in found["md"]
    lines = [line for line in found["md"].splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 3
    assert "\\input" not in "".join(line for line in found["latex"].splitlines() if not line.startswith("%"))
    cells = next(csv.DictReader(io.StringIO(found["csv"])))
    assert cells["attack"].startswith("'=")
    assert cells["setting"].startswith("'@")
    assert float(cells["auc"]) == 0.5464
    assert cells["canary-attack"] == ""


def test_csv_of_sound_tables_is_unchanged():
    table = pd.DataFrame([row(), row(rank=2, defense="relaxloss", numbers=WITH_CANARIES)])
    assert tables.csv(table) == table.to_csv(index=False, lineterminator="\n")
