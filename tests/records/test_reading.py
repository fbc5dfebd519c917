"""Records are verified when they are read: what is damaged, doctored or no record is named, and the others are read."""

import functools
import json
import math
import os

import numpy as np
import pytest

from privbench.errors import CannotWrite, InvalidRecord, UsageError
from privbench.records import audit_record, files, reading
from privbench.records.files import save
from privbench.records.parts import Claims, Cost, Selection, Utility
from privbench.records.record import Record, load, located
from privbench.stats import intervals
from privbench.store.hashing import arrays_sha256

MEMBER = np.stack([np.arange(60) % 2 == 0, np.arange(60) % 2 == 1])
SHARE = intervals.estimate(0.5, 0.4, 0.6, 100)


def scores_of(attack):
    return np.random.default_rng(len(attack)).normal(size=MEMBER.shape) + MEMBER


@pytest.fixture(scope="module")
def record(scored):
    """A record with all parts that membership attacks have."""

    def made(attack="lira", **changes):
        return scored(
            attack,
            scores_of(attack),
            MEMBER,
            utility=Utility(train_accuracy=SHARE, nonmember_accuracy=SHARE, test_accuracy=SHARE, test_accuracy_sd=0.1),
            cost=Cost(seconds_per_model=1.5),
            facts={"epsilon": math.inf, "loss": -2.0},
            claims=Claims(release=0, releases=1, epsilon_smallest=1, epsilon_median=2, epsilon_largest=math.inf),
            selection=Selection(attacks=[attack], resamples=20, bands={"auc": (0.1, 0.9)}, critical={"auc": 2.0}),
            command="privbench run",
            **changes,
        )

    return made


@pytest.fixture(scope="module")
def audit(record, component):
    """A record of an audit."""
    base = record().model_dump(include={"task", "data", "defense", "models", "seed", "device", "status"})
    own = {"audit": component("overlap"), "values": {"rate": SHARE}, "seconds": 1.0}
    return functools.partial(audit_record.AuditRecord, **base, **own)


@pytest.fixture(scope="module")
def stored(record):
    """Write a record, and its raw scores; return its file. older: without what is known of its files."""

    def write(folder, attack="lira", *, raw=True, older=False, **changes):
        scores = scores_of(attack)
        arrays = {"scores": scores, "member": MEMBER, "decisions": scores > 0}
        file = save(record(attack, **changes), folder, arrays if raw else None)
        if older:
            content = json.loads(file.read_text())
            del content["files"]
            file.write_text(files.readable(content))
        return file

    return write


def change(file, path, value):
    """Change one entry of a file of JSON, and nothing else."""
    content = json.loads(file.read_text())
    *outer, last = path
    inside = content
    for name in outer:
        inside = inside[name]
    inside[last] = value
    file.write_text(json.dumps(content))


def read(folder):
    """Return the attacks whose records are read, and the messages on the others."""
    said = []
    return sorted(each.attack.name for each in load([folder], lambda error: said.append(str(error)))), said


def test_a_record_is_read_as_it_was_written(record, audit, tmp_path):
    made = record().sealed()
    assert load([save(made, tmp_path)]) == [made]
    assert audit_record.load([save(audit().sealed(), tmp_path)]) == [audit().sealed()]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "auc", "value"), 0.7),
        (("metrics", "tpr_at_fpr", 0, "tpr", "note"), "another"),
        (("status",), "failed"),
        (("defense", "spec"), "dp-sgd"),
        (("seed",), 1),
        (("scores_sha256",), ""),
        (("digest",), ""),
        (("digest",), "0" * 64),
    ],
)
def test_a_changed_record_is_named_and_left_out(stored, tmp_path, path, value, older):
    file, _ = stored(tmp_path, older=older), stored(tmp_path, "rmia")
    change(file, path, value)
    kept, (said,) = read(tmp_path)
    assert kept == ["rmia"]
    assert said.startswith(f"{file} is no valid record: it")
    assert "\n" not in said
    with pytest.raises(InvalidRecord, match="is no valid record"):
        load([tmp_path])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "auc", "value"), 7.0),
        (("metrics", "auc", "value"), None),
        (("metrics", "auc", "low"), 0.99),
        (("metrics", "auc", "n"), -1),
        (("metrics", "auc", "value"), "NaN"),
        (("metrics", "advantage", "low"), -1.5),
        (("metrics", "tpr_at_fpr", 0, "tpr", "high"), 1.5),
        (("metrics", "tpr_at_fpr", 0, "threshold"), "Infinity"),
        (("metrics", "tpr_at_fpr", 0, "members"), -4),
        (("metrics", "roc", 0), [-0.1, 0.5]),
        (("metrics", "per_target", "auc", "values", 0), [0.5, 0.6, 0.7]),
        (("metrics", "per_target", "auc", "values", 0), [1.5, 0.6, 1.7]),
        (("metrics", "per_target", "auc", "sd"), -0.1),
        (("utility", "test_accuracy", "value"), -0.5),
        (("utility", "test_accuracy_sd"), "Infinity"),
        (("cost", "seconds_per_model"), -1.0),
        (("claims", "epsilon_smallest"), -1.0),
        (("claims", "epsilon_largest"), "NaN"),
        (("claims", "releases"), 0),
        (("facts", "epsilon"), -0.5),
        (("facts", "loss"), "NaN"),
        (("facts",), {"delta": 1.5}),
        (("selection", "bands", "auc"), [0.9, 0.1]),
        (("selection", "bands", "auc"), [-0.1, 2.0]),
        (("selection", "critical", "auc"), "NaN"),
        (("models",), 0),
        (("targets",), -2),
        (("shadows",), -1),
        (("data", "pool"), 0),
        (("data", "classes"), 10**30),
        (("data", "test"), -1),
        (("models",), "four"),
        (("models",), 2.5),
        (("metrics",), []),
        (("task",), None),
        (("attack", "name"), "../../lira"),
        (("attack", "name"), "li\nra"),
        (("schema_version",), 99),
        (("schema_version",), True),
        (("unknown",), 1),
        (("kind",), "audit"),
    ],
)
def test_impossible_numbers_are_refused_even_where_they_are_sealed(stored, tmp_path, path, value):
    file, _ = stored(tmp_path, older=True), stored(tmp_path, "rmia")
    if path[0] == "selection":  # which is in a file of its own, except in older records
        bands = json.loads(file.with_suffix(files.BANDS).read_text())
        file.with_suffix(files.BANDS).unlink()
        change(file, ("selection",), bands["selection"])
    change(file, path, value)
    content = json.loads(file.read_text())
    change(file, ("digest",), files.digest_of(Record, content))
    kept, (said,) = read(tmp_path)
    assert kept == ["rmia"]
    assert said.startswith(f"{file} is no valid record: ")
    assert "digest" not in said
    assert said.count("\n") == 0


def test_bands_are_in_a_file_of_their_own_and_belong_to_one_record(stored, tmp_path):
    file = stored(tmp_path)
    bands = file.with_suffix(files.BANDS)
    (whole,) = load([file])
    assert json.loads(file.read_text())["selection"] is None
    assert whole.selection.bands == {"auc": (0.1, 0.9)}
    change(bands, ("selection", "bands", "auc"), [0.9, 0.1])
    kept, (said,) = read(tmp_path)
    assert (kept, said.startswith(f"{bands} is no valid record: ")) == ([], True)
    change(bands, ("digest",), "0" * 64)
    assert load([file]) == [whole.model_copy(update={"selection": None})], "of another record"


@pytest.mark.parametrize(
    ("name", "value"), [("values", {"rate": {**SHARE.model_dump(), "low": 0.55}}), ("seconds", -1.0), ("models", 0)]
)
def test_impossible_numbers_of_audits_are_refused(audit, tmp_path, name, value):
    change(save(audit(), tmp_path), (name,), value)
    with pytest.raises(InvalidRecord, match=f"is no valid record: {name}"):
        audit_record.load([tmp_path])


def test_a_number_that_another_tool_writes_otherwise_is_the_same(stored, tmp_path):
    file = stored(tmp_path, older=True, salt="")
    change(file, ("facts", "loss"), -2)
    assert read(tmp_path) == (["lira"], [])


def test_line_ends_of_another_system_are_no_change(stored, tmp_path):
    file = stored(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert read(tmp_path) == (["lira"], [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"schema_version": 2, "attack', "Unterminated string"),
        (b"\x80\x00\xff", "can't decode"),
        (b"null", "schema_version is None"),
        (b"[]", "schema_version is None"),
        (b"{}", "schema_version is None"),
        (b'{"schema_version": 2}', "task: Field required"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"schema_version": 2, "seed": NaN}', "NaN is no number of JSON"),
        (b'{"schema_version": 2, "seed": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"schema_version": 2, "seed": 1, "seed": 2}', "'seed' occurs twice"),
        (b'{"schema_version": ' + b"9" * 10_000 + b"}", "Exceeds the limit"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_the_reason(stored, tmp_path, content, reason):
    stored(tmp_path)
    (tmp_path / "bad.json").write_bytes(content)
    kept, (said,) = read(tmp_path)
    assert kept == ["lira"]
    assert said.startswith(f"{tmp_path / 'bad.json'} is no valid record: ")
    assert reason in said
    assert audit_record.load([tmp_path], lambda error: None) == []
    with pytest.raises(InvalidRecord):
        audit_record.load([tmp_path / "bad.json"])


def test_an_entry_that_occurs_twice_is_refused_though_the_last_one_is_right(stored, tmp_path):
    for older in (False, True):
        file = stored(tmp_path, older=older)
        file.write_text(file.read_text().replace("{", '{"seed": 7,', 1))
        kept, (said,) = read(tmp_path)
        assert (kept, "'seed' occurs twice" in said) == ([], True)


def test_what_is_no_plain_file_is_named_and_never_opened(stored, tmp_path, monkeypatch):
    stored(tmp_path)
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
    monkeypatch.setattr(reading, "LARGEST", 100_000)
    (tmp_path / "large.json").write_bytes(b" " * 100_001)
    kept, said = read(tmp_path)
    assert kept == ["lira"]
    reasons = {line.split(" is no valid record: ")[0].split("/")[-1]: line for line in said}
    assert "link" in reasons["link.json"]
    assert "has more than" in reasons["large.json"]
    if hasattr(os, "mkfifo"):
        assert "pipe" in reasons["pipe.json"]
        with pytest.raises(InvalidRecord, match="pipe"):
            load([tmp_path / "pipe.json"])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InvalidRecord, match="Permission denied"):
        load([tmp_path])


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    "damage", ["scores", "member", "shape", "others", "empty", "truncated", "garbage", "folder", "bit"]
)
def test_raw_scores_of_another_record_are_named(stored, tmp_path, damage, older):
    file, _ = stored(tmp_path, older=older), stored(tmp_path, "rmia")
    raw = file.with_suffix(".scores.npz")
    content = raw.read_bytes()
    scores = scores_of("lira")
    if damage in ("scores", "member", "shape", "others", "empty"):
        arrays = {
            "scores": {"scores": scores + 1e-9, "member": MEMBER},
            "member": {"scores": scores, "member": ~MEMBER},
            "shape": {"scores": scores.reshape(4, 30), "member": MEMBER.reshape(4, 30)},
            "others": {"scores": scores, "member": MEMBER, "decisions": MEMBER[:1]},
            "empty": {},
        }[damage]
        np.savez(raw, **arrays)
    elif damage == "folder":
        raw.unlink()
        raw.mkdir()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        raw.write_bytes({"truncated": content[:100], "garbage": b"\x00" * 500, "bit": flipped}[damage])
    kept, (said,) = read(tmp_path)
    assert kept == ["rmia"]
    assert said.startswith(f"{file} is no valid record: {raw.name} beside it ")
    assert "\n" not in said


def test_other_decisions_in_the_raw_file_are_noticed(stored, tmp_path):
    file = stored(tmp_path)
    scores = scores_of("lira")
    np.savez(file.with_suffix(".scores.npz"), scores=scores, member=MEMBER, decisions=scores > 1)
    assert read(tmp_path)[0] == []


@pytest.mark.parametrize("older", [False, True])
def test_a_record_without_its_raw_file_is_whole(stored, tmp_path, older):
    file = stored(tmp_path, older=older)
    file.with_suffix(".scores.npz").unlink()
    assert read(tmp_path) == (["lira"], [])
    file.with_suffix(".scores.npz").symlink_to(tmp_path / "not-fetched")
    assert read(tmp_path) == (["lira"], [])


@pytest.mark.parametrize("damage", [False, True])
def test_arrays_of_an_audit_are_verified(audit, tmp_path, damage):
    arrays = {"right": np.arange(4.0)}
    file = save(audit(arrays_sha256=arrays_sha256(sorted(arrays.items()))), tmp_path, arrays)
    if damage:
        np.savez(file.with_suffix(".arrays.npz"), right=np.ones(4))
        with pytest.raises(InvalidRecord, match=r"arrays.npz beside it"):
            audit_record.load([tmp_path])
    assert len(audit_record.load([tmp_path], lambda error: None)) == (not damage)


def test_a_second_writing_without_arrays_keeps_those_of_the_first(stored, tmp_path):
    file = stored(tmp_path)
    content = json.loads(file.read_text())["files"]
    save(load([file])[0], tmp_path)
    assert json.loads(file.read_text())["files"]["raw_sha256"] == content["raw_sha256"] != ""
    assert read(tmp_path) == (["lira"], [])


def test_scores_of_an_earlier_record_are_removed_where_the_new_one_has_none(record, stored, tmp_path):
    file = stored(tmp_path)
    save(record().model_copy(update={"scores_sha256": "", "status": "failed", "metrics": None}), tmp_path)
    assert not file.with_suffix(".scores.npz").exists()
    assert read(tmp_path) == (["lira"], [])


@pytest.mark.parametrize("damage", ["garbage", "link", "pipe", "raw garbage"])
def test_damaged_files_are_written_over(stored, tmp_path, damage):
    file = stored(tmp_path)
    if damage == "raw garbage":
        file.with_suffix(".scores.npz").write_bytes(b"x")
    else:
        file.unlink()
    if damage == "garbage":
        file.write_bytes(b"\x00")
    elif damage == "link":
        file.symlink_to(tmp_path / "nowhere")
    elif damage == "pipe":
        os.mkfifo(file)
    assert stored(tmp_path) == file
    assert read(tmp_path) == (["lira"], [])
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("suffix", [".json", ".scores.npz"])
def test_a_folder_in_place_of_a_file_is_named_in_writing(stored, tmp_path, suffix):
    file = stored(tmp_path).with_suffix(suffix)
    file.unlink()
    file.mkdir()
    with pytest.raises(CannotWrite, match="it is a folder; remove it"):
        stored(tmp_path)


def test_the_name_of_a_file_decides_nothing(audit, stored, tmp_path):
    """Neither its kind nor its cell: a record says itself what it is."""
    attack, audited = stored(tmp_path, "audit-by-loss", raw=False), save(audit(), tmp_path)
    (tmp_path / "elsewhere").mkdir()
    attack.rename(tmp_path / "elsewhere" / "audit-overlap-0.json")
    audited.rename(tmp_path / "elsewhere" / "lira-0.json")
    assert read(tmp_path) == (["audit-by-loss"], [])
    assert [each.audit.name for each in audit_record.load([tmp_path])] == ["overlap"]


def test_raw_scores_beside_a_record_that_was_moved_are_verified_too(stored, tmp_path):
    file, other = stored(tmp_path), stored(tmp_path, "entropy")
    file.replace(other)
    kept, (said,) = read(tmp_path)
    assert (kept, "beside it is not the file" in said) == ([], True)


def test_two_records_of_one_cell_are_both_read(stored, tmp_path):
    first, second = stored(tmp_path / "a"), stored(tmp_path / "b", environment={"torch": "9"})
    assert [file for file, _ in located([tmp_path])] == [first, second]


@pytest.mark.parametrize(
    ("made", "reader", "other"),
    [
        ("audit", load, "record of an audit: `privbench audit show` reads it"),
        ("record", audit_record.load, "record of an attack: `privbench leaderboard show` reads it"),
    ],
)
def test_a_record_of_the_other_kind_says_who_reads_it(request, tmp_path, made, reader, other):
    file = save(request.getfixturevalue(made)(), tmp_path)
    assert reader([tmp_path]) == []
    with pytest.raises(UsageError, match=other):
        reader([file])
