"""What an audit found, as a person reads it."""

import io

from rich.console import Console

from privbench.records.audit_record import AuditRecord
from privbench.records.parts import Component, Data
from privbench.report import audits
from privbench.stats.intervals import Estimate, unavailable


def record(**fields):
    parts = {kind: Component(spec=kind, name=kind, plugin="p", source="") for kind in ("task", "defense", "audit")}
    data = Data(name="d", fingerprint="f", classes=2, pool=1, reference=1, validation=1, test=1, duplicates=0)
    given = {"models": 4, "seed": 0, "device": "cpu", "status": "ok", **fields}
    return AuditRecord(**parts, data=data, **given)


def shown(found, width=80):
    console = Console(width=width, record=True, highlight=False, markup=False, file=io.StringIO())
    console.print(audits.render(found))
    return console.export_text()


FOUND = {
    "values": {"mean_loss": Estimate(value=0.31234, low=0.25, high=0.375, n=10), "k": 3},
    "tables": {"By class": [{"class": "a|b", "share": 0.5}, {"class": "c", "share": None, "more": True}]},
    "notes": ["Read it with care."],
}


def test_numbers_read_as_a_person_writes_them():
    assert audits.text(FOUND["values"]["mean_loss"]) == "0.3123 [0.25, 0.375]"
    assert audits.text(Estimate(value=2.0, low=None, high=None, n=1)) == "2"
    assert audits.text(unavailable("too few")) == "n/a (too few)"
    values = {None: "n/a", True: "yes", 3: "3", 1e-7: "1.000e-07", 123456.0: "1.235e+05", "as is": "as is"}
    assert {value: audits.text(value) for value in values} == values


def test_a_terminal_shows_values_tables_and_notes():
    text = shown(record(**FOUND))
    for part in ("audit of defense on task", "mean loss", "0.3123 [0.25, 0.375]", "By class", "n/a", "Read it with"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_number_of_privacy_levels_is_broken_in_two():
    """0.007958 was 0.00795 above 8."""
    row = dict.fromkeys(("share", "low", "high"), 0.3598) | {"by chance": 0.0625, "R_in": 0.9218, "R_out": 0.7307}
    text = shown(record(tables={"Levels": [{"level": "vague", "examples": 1298, **row, "A": 0.007958}]}))
    assert "0.007958" in text
    assert "examples" in text


def test_markdown_has_the_same():
    text = audits.markdown(record(**FOUND))
    assert "| mean_loss | 0.3123 [0.25, 0.375] |" in text
    assert "| a\\|b | 0.5 | n/a |" in text
    assert "- Read it with care." in text


def test_one_that_failed_says_why():
    failed = record(status="failed", reason="ce publishes nothing")
    assert "failed: ce publishes nothing" in shown(failed)
    assert "failed: ce publishes nothing" in audits.markdown(failed)


def test_names_from_outside_are_texts():
    hostile = "\x1b[2J[red]\n| <b>"
    found = record(
        values={hostile: hostile}, tables={hostile: [{hostile: hostile, "n": -1}]}, notes=[hostile], reason=hostile
    )
    for text in (shown(found), audits.markdown(found), audits.markdown(record(status="failed", reason=hostile))):
        assert "\x1b" not in text
        assert "\\x1b" in text
    assert "[red]" in shown(found)
    assert "<b>" not in audits.markdown(found)
