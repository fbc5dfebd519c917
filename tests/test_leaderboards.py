"""The committed leaderboards hold what they say."""

from pathlib import Path

import pytest

from privbench import leaderboard
from privbench.record import load
from privbench.report.tables import export

FOLDER = Path(__file__).parents[1] / "leaderboards"
RECORDS = sorted(FOLDER.rglob("*.json"))


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: str(file.relative_to(FOLDER)))
def test_a_record_is_whole_and_small_and_lies_where_it_belongs(file):
    (record,) = load([file])
    assert record.digest == record.compute_digest()
    assert record.path(FOLDER) == file
    assert record.status == "ok"
    assert record.command.startswith("privbench run ")
    assert file.stat().st_size < 50_000


def test_the_tables_are_those_of_the_records():
    text = (FOLDER / "README.md").read_text()
    records = load([FOLDER])
    assert export(leaderboard.frame(records), "md") in text
    assert export(leaderboard.cells(records), "md") in text


@pytest.mark.parametrize(
    "file", sorted(FOLDER.rglob("correctness-*.json")), ids=lambda file: f"{file.parent.name}-{file.stem}"
)
def test_correctness_is_the_accuracy_gap(file):
    (record,) = load([file])
    gap = record.utility.train_accuracy.value - record.utility.nonmember_accuracy.value
    assert record.metrics.balanced_accuracy.value == pytest.approx(0.5 + gap / 2, abs=1e-8)
