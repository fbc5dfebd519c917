"""Records that earlier versions wrote are read for ever: as they were, with their digests, and into tables.

`schema-1/` holds records of version 1, as they were written: of membership attacks with and without canaries, findings
and epsilon; not applicable; failed; of given predictions; of a reconstruction; of audits.
"""

from pathlib import Path

import pytest

from privbench.records import audit_record, leaderboard
from privbench.records.files import AUDIT_PREFIX
from privbench.records.record import load
from privbench.report.audits import markdown
from privbench.report.tables import FORMATS, export_all, render

FOLDER = Path(__file__).parent / "schema-1"
FILES = sorted(FOLDER.rglob("*.json"))
RECORDS = [file for file in FILES if not file.name.startswith(AUDIT_PREFIX)]
AUDITS = [file for file in FILES if file.name.startswith(AUDIT_PREFIX)]


def name(file):
    return str(file.relative_to(FOLDER))


def test_every_kind_is_there():
    records = load([FOLDER])
    assert {record.status for record in records} == {"ok", "n/a", "failed"}
    assert {record.family for record in records} == {"membership", "reconstruction"}
    assert any(record.canaries for record in records)
    assert any(record.findings for record in records)
    assert any("epsilon" in record.facts for record in records)
    assert any(record.task.name == "predictions" for record in records)
    assert len(records) == len(RECORDS)
    assert AUDITS


@pytest.mark.parametrize("file", RECORDS, ids=name)
def test_a_record_keeps_its_version_its_digest_and_its_place(file):
    (record,) = load([file])
    assert record.schema_version == 1
    assert record.digest == record.compute_digest()
    assert record.path(FOLDER) == file


@pytest.mark.parametrize("file", AUDITS, ids=name)
def test_a_record_of_an_audit_keeps_its_version_its_digest_and_its_place(file):
    (record,) = audit_record.load([file])
    assert record.schema_version == 1
    assert record.digest == record.compute_digest()
    assert record.path(FOLDER) == file
    assert record.audit.name in markdown(record)


@pytest.mark.parametrize("form", FORMATS)
def test_they_stand_in_tables(form):
    records = load([FOLDER])
    text = export_all([leaderboard.cells(records), leaderboard.reconstructions(records)], form)
    assert all(word in text for word in ("dp-sgd", "real-vs-fake", "correctness", "inversion", "lira failed"))
    assert "dp-sgd" in export_all([leaderboard.frame(records), leaderboard.reconstructions(records)], form)
    assert render(leaderboard.frame(records))
