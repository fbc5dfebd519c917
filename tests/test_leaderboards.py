"""The committed leaderboards hold what they say."""

from pathlib import Path

import pytest

from privbench.records import audit_record, leaderboard
from privbench.records.files import AUDIT_PREFIX
from privbench.records.record import load
from privbench.report.audits import markdown
from privbench.report.tables import export, export_all

FOLDER = Path(__file__).parents[1] / "leaderboards"
STUDIES = [page.parent for page in sorted(FOLDER.glob("*/README.md"))]
"""Folders of records with a page of their own; the rest belongs to the page of the whole."""
FILES = sorted(FOLDER.rglob("*.json"))
RECORDS = [file for file in FILES if not file.name.startswith(AUDIT_PREFIX)]
AUDITS = [file for file in FILES if file.name.startswith(AUDIT_PREFIX)]
COMMON = [path for path in sorted(FOLDER.iterdir()) if path.is_dir() and path not in STUDIES]


def root(file):
    """Return the folder of records that a file belongs to."""
    return next((study for study in STUDIES if study in file.parents), FOLDER)


def name(file):
    return str(file.relative_to(FOLDER))


@pytest.mark.parametrize("file", RECORDS, ids=name)
def test_a_record_is_whole_and_small_and_lies_where_it_belongs(file):
    (record,) = load([file])
    assert record.digest == record.compute_digest()
    assert record.path(root(file)) == file
    assert record.status in ("ok", "n/a")
    assert record.command.startswith("privbench run ")
    assert file.stat().st_size < 50_000


@pytest.mark.parametrize("file", AUDITS, ids=name)
def test_a_record_of_an_audit_is_whole_and_small_and_lies_where_it_belongs(file):
    (record,) = audit_record.load([file])
    assert record.digest == record.compute_digest()
    assert record.path(root(file)) == file
    assert record.status == "ok"
    assert record.command.startswith("privbench audit ")
    assert file.stat().st_size < 50_000


@pytest.mark.parametrize("folder", [FOLDER, *STUDIES], ids=lambda folder: folder.name)
def test_the_tables_are_those_of_the_records(folder):
    text = (folder / "README.md").read_text()
    records = load(COMMON if folder == FOLDER else [folder])
    reconstructions = leaderboard.reconstructions(records)
    for table in (leaderboard.frame(records), leaderboard.cells(records)):
        assert export(table, "md") in text
    if len(reconstructions):
        assert export_all([table, reconstructions], "md") in text
    for record in audit_record.load(COMMON if folder == FOLDER else [folder]):
        assert markdown(record) in text


@pytest.mark.parametrize("file", [file for file in RECORDS if file.name.startswith("correctness-")], ids=name)
def test_correctness_is_the_accuracy_gap(file):
    (record,) = load([file])
    gap = record.utility.train_accuracy.value - record.utility.nonmember_accuracy.value
    assert record.metrics.balanced_accuracy.value == pytest.approx(0.5 + gap / 2, abs=1e-8)
