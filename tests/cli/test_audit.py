"""`privbench audit` as a person types it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from privbench.cli import main
from privbench.plugins.loading import catalogue
from privbench.population.population import Job
from privbench.records.audit_record import load


@pytest.fixture
def audit(inline, monkeypatch, tmp_path, table_file):
    from privbench.cli import run as module

    inline.workers = 1
    monkeypatch.setattr(module, "executor_of", lambda *_: inline)
    monkeypatch.setenv("PRIVBENCH_STORE", str(tmp_path / "store"))

    def invoke(*words):
        task = ("--task", f"npz:path={table_file},epochs=2,model=mlp,hidden=16", "--models", "4")
        given = task if words and words[0].partition(":")[0] in ALL and "--help" not in words else ()
        out = ("--out", str(tmp_path / "out")) if given else ()
        return CliRunner().invoke(main, ["audit", *words[:1], *given, *out, *words[1:]])

    return invoke


ALL = sorted(catalogue().of("audit"))


def test_every_audit_and_what_one_has_already_are_listed(audit):
    shown = audit("--help")
    assert shown.exit_code == 0
    for name in (*ALL, "predictions", "dataset", "show"):
        assert name in shown.output


@pytest.mark.parametrize("name", ALL)
def test_the_help_of_each_says_what_it_does(audit, name):
    shown = audit(name, "--help")
    assert shown.exit_code == 0
    assert "privbench list audit" in shown.output
    assert "--student" in shown.output


def test_a_name_that_is_misspelt(audit):
    shown = audit("privacy-levls")
    assert shown.exit_code == 2
    assert "Did you mean 'privacy-levels'" in shown.stderr


def test_an_option_that_an_audit_does_not_have(audit):
    shown = audit("privacy-levels:atack=lira")
    assert shown.exit_code == 2
    assert "'attack'" in shown.stderr


def test_an_audit_is_conducted_and_shown(audit, tmp_path):
    shown = audit("privacy-levels")
    assert shown.exit_code == 0, shown.output
    assert "privacy-levels of ce on npz" in shown.stdout
    assert list((tmp_path / "out").rglob("audit-privacy-levels-*.json"))
    again = audit("show", str(tmp_path / "out"))
    assert again.stdout.strip() == shown.stdout.strip()
    assert "### privacy-levels of ce on npz" in audit("show", str(tmp_path / "out"), "--format", "md").stdout


def test_a_random_salt_is_said_and_stands_in_the_record(audit, tmp_path):
    shown = audit("privacy-levels", "--salt", "random")
    assert shown.exit_code == 0, shown.output
    (record,) = load([tmp_path / "out"])
    assert f"The salt is {record.salt}: " in shown.stderr
    assert f"--salt {record.salt}" in record.command
    assert f"seed 0, salt {record.salt[:8]}..., cpu" in shown.stdout
    assert audit("privacy-levels", "--salt", "12").stderr.startswith("Error: --salt 12: give 32 hexadecimal digits")


def test_there_is_nothing_to_show(audit, tmp_path):
    shown = audit("show", str(tmp_path))
    assert shown.exit_code == 2
    assert "No audits in" in shown.stderr


def test_one_that_does_not_apply_says_why_before_training(audit):
    shown = audit("utility-matrix", "--student", "logistic")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr == "Error: ce publishes no generated examples to train a student on.\n"


def test_a_student_where_none_is_trained(audit):
    shown = audit("privacy-levels", "--student", "mlp")
    assert shown.exit_code == 2
    assert "trains no student" in shown.stderr


def test_a_damaged_record_is_named_and_the_next_run_writes_it_anew(audit, tmp_path):
    audit("privacy-levels")
    (file,) = (tmp_path / "out").rglob("audit-*.json")
    whole = file.read_text()
    file.write_text(whole[:-100])
    shown = audit("show", str(tmp_path / "out"))
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr.startswith(f"Error: {file} is no valid record: ")
    assert shown.stderr.endswith(" It is left out.\n")
    assert shown.stderr.count("\n") == 1
    assert audit("privacy-levels").exit_code == 0
    assert audit("show", str(tmp_path / "out")).exit_code == 0


def test_options_are_read_from_a_file_and_the_command_line_takes_precedence(audit, tmp_path):
    (tmp_path / "study.toml").write_text('task = "digits"\ndefense = ["ce", "relaxloss"]\nseed = 3\n')
    shown = audit("privacy-levels", "--config", str(tmp_path / "study.toml"), "--defense", "ce")
    assert shown.exit_code == 0, shown.output
    (record,) = load([tmp_path / "out"])
    assert (record.task.name, record.defense.name, record.seed, record.models) == ("npz", "ce", 3, 4)


def test_a_file_with_an_option_that_audits_do_not_have(audit, tmp_path):
    (tmp_path / "study.toml").write_text("targets = 3\n")
    shown = audit("privacy-levels", "--config", str(tmp_path / "study.toml"))
    assert shown.exit_code == 2
    assert "no option 'targets'" in shown.stderr


@pytest.mark.parametrize("name", ["privacy-levels", "overlap", "data-breakdown"])
def test_an_audit_of_trainings_of_one_set_takes_any_number_of_them_and_is_no_row(audit, tmp_path, inline, name):
    shown = audit(f"{name}:members=fixed", "--models", "3")
    assert shown.exit_code == 0, shown.output
    (record,) = load([tmp_path / "out"])
    assert (record.models, record.status) == (3, "ok")
    assert record.audit.spec == f"{name}:members=fixed"
    assert {job.population.fixed for job in inline.ran if isinstance(job, Job)} <= {0.5, 1.0}
    rows = CliRunner().invoke(main, ["leaderboard", "show", str(tmp_path / "out")])
    assert rows.exit_code == 2
    assert "no records" in rows.stderr.lower()


def test_an_odd_number_of_halves_is_refused_still(audit):
    shown = audit("privacy-levels", "--models", "3")
    assert shown.exit_code == 2
    assert "give an even number" in shown.stderr
    shown = audit("privacy-levels:members=fixed", "--models", "1")
    assert shown.exit_code == 2
    assert "give 2 or more" in shown.stderr


def test_an_attack_with_shadows_and_one_set_is_refused_before_training(audit, inline):
    shown = audit("privacy-levels:members=fixed,attack=lira", "--models", "3")
    assert shown.exit_code == 2
    assert "members=fixed takes a threshold attack" in shown.stderr
    assert not any(isinstance(job, Job) for job in inline.ran)
