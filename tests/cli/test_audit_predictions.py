import csv
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from privbench.cli.audit_predictions import predictions
from privbench.errors import DataError, UsageError
from privbench.records import record


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file(here):
    """Answers of a model that is surer of its members, with four shadows alike."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)

    def answers(member):
        return rng.normal(size=(400, 3)) + np.eye(3)[labels] * (1 + 2 * member[:, None])

    halves = [rng.permutation(400) < 200 for _ in range(3)]
    member, shadows = halves[0], np.stack([halves[1], ~halves[1], halves[2], ~halves[2]])
    arrays = {"logits": answers(member), "labels": labels, "membership": member}
    np.savez(here / "plain.npz", **arrays)
    np.savez(
        here / "mine.npz", **arrays, shadow_logits=np.stack([answers(s) for s in shadows]), shadow_membership=shadows
    )
    return here / "mine.npz"


def _invoke(*words):
    return CliRunner().invoke(predictions, list(map(str, words)), catch_exceptions=True)


def test_records_tables_and_the_most_exposed(file, here):
    result = _invoke("mine.npz", "--top", 3)
    assert result.exit_code == 0, result.output
    found = record.load([here / "privbench-results"])
    assert {each.attack.name for each in found} >= {"confidence", "correctness", "entropy", "lira", "m-entropy"}
    assert found[0].command == "privbench audit predictions mine.npz --seed 0"
    assert "predictions(mine)" in result.stdout
    assert "200 members, 200 non-members, seed 0" in result.stdout
    assert "half of it members" not in result.stdout
    shown = result.stdout.partition("The 3 most exposed members, by the scores of ")[2].splitlines()[1:]
    assert len([line for line in shown if line.strip()]) == 4
    (table,) = here.rglob("*.exposed.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 200
    assert f"{rows[0]['index']} " in shown[1]
    assert "Warning" not in result.stderr


def test_without_shadows_lira_is_left_out_and_said(file, here):
    result = _invoke("plain.npz", "--out", "elsewhere", "--seed", 4)
    assert result.exit_code == 0, result.output
    assert "skipped: lira needs shadow models (shadow_logits and shadow_membership)" in result.stdout
    assert {each.attack.name for each in record.load([here / "elsewhere"])} >= {"confidence", "m-entropy"}
    assert not (here / "privbench-results").exists()


def test_the_command_of_a_record_runs_it_again(file, here):
    first = _invoke("mine.npz", "-a", "lira:mode=offline", "--out", "one", "--seed", 2)
    assert first.exit_code == 0
    (one,) = record.load([here / "one"])
    words = one.command.split()
    assert words[:3] == ["privbench", "audit", "predictions"]
    assert _invoke(*words[3:], "--out", "two").exit_code == 0
    (two,) = record.load([here / "two"])
    assert one.digest == two.digest


def test_no_exposed_examples_wanted(file):
    assert "most exposed" not in _invoke("plain.npz", "--top", 0).stdout


def test_warnings_go_to_stderr(file, here):
    with np.load(file) as arrays:
        np.savez(here / "odd.npz", **dict(arrays), ids=np.arange(400))
    result = _invoke("odd.npz", "-a", "correctness")
    assert result.exit_code == 0
    assert "Warning: array 'ids' is not read." in result.stderr


def test_a_failed_attack_makes_the_command_fail(file, here):
    with np.load(file) as arrays:
        np.savez(here / "one.npz", **{**arrays, **{f"shadow_{k}": arrays[f"shadow_{k}"][:1] for k in SHADOW}})
    result = _invoke("one.npz", "-a", "lira")
    assert result.exit_code == 1
    assert "lira failed: lira (online) needs shadows" in result.stdout


SHADOW = ("logits", "membership")


def test_mistakes_are_errors_of_usage(file, here):
    (here / "blocked").write_text("")
    for words, kind, said in (
        (["nowhere.npz"], DataError, "no such file"),
        (["plain.npz", "-a", "lira"], UsageError, "None of the attacks can be run"),
        (["plain.npz", "-a", "lirra"], UsageError, "Did you mean 'lira'"),
        (["plain.npz", "-a", "correctness", "--out", "blocked/here"], UsageError, "Cannot write records"),
    ):
        result = _invoke(*words)
        assert isinstance(result.exception, kind)
        assert result.exception.exit_code == 2
        assert said in str(result.exception)


def test_help_comes_without_torch():
    code = "import sys, privbench.cli.audit_predictions as m; m.predictions(['--help'], standalone_mode=False);"
    code += "assert not {'torch', 'pandas', 'sklearn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "membership (n,)" in done.stdout


def test_equal_scores_are_not_the_most_exposed(here):
    rng = np.random.default_rng(0)
    labels, member = rng.integers(0, 3, 60), rng.permutation(60) < 30
    np.savez("classes.npz", probabilities=np.eye(3)[labels], labels=labels, membership=member)
    result = _invoke("classes.npz", "--top", 4)
    assert result.exit_code == 0, result.output
    assert "All 4 have the same score as 26 members not shown: none of them stands out." in result.stdout
    assert "Without shadow models no attack can tell" in " ".join(result.stdout.split())
    assert "All 30 have the same score." in _invoke("classes.npz", "--top", 30).stdout


def test_a_table(file, here):
    arrays = np.load(here / "plain.npz")
    rows = np.column_stack([arrays["labels"], arrays["membership"], arrays["logits"]])
    np.savetxt("mine.csv", rows, delimiter=",", header="label,member,logit_0,logit_1,logit_2", comments="")
    result = _invoke("mine.csv", "-a", "confidence", "--out", "table")
    assert result.exit_code == 0, result.output
    assert _invoke("plain.npz", "-a", "confidence", "--out", "arrays").exit_code == 0
    (one,), (two,) = (record.load([here / name]) for name in ("table", "arrays"))
    assert one.scores_sha256 == two.scores_sha256
