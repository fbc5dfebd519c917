"""Boards: folders of records, with a declaration in board.toml or without."""

import datetime as dt
import shutil

import numpy as np
import pytest

from privbench.errors import UnknownName, UsageError
from privbench.records import submissions as board
from privbench.records.files import save

MEMBER = np.stack([np.arange(300) % 2 == 0, np.arange(300) % 2 == 1])


@pytest.fixture(scope="module")
def stored(scored):
    """Write a record, and its raw scores; return its file."""

    def write(folder, attack="lira", *, shift=0.5, day=1, **changes):
        scores = np.random.default_rng(len(attack)).normal(size=MEMBER.shape) + shift * MEMBER
        created = dt.datetime(2026, 1, day, tzinfo=dt.timezone.utc)
        record = scored(attack, scores, MEMBER, created=created, **changes).sealed()
        return save(record, folder, {"scores": scores, "member": MEMBER})

    return write


def declare(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / board.DECLARATION).write_text(text, encoding="utf-8")
    return folder / board.DECLARATION


def test_a_folder_declares_its_attacks_its_title_and_what_ranks(stored, tmp_path):
    declare(tmp_path, 'title = "Digits"\nattacks = ["lira", "entropy"]\nrank-by = "auc"\n')
    stored(tmp_path)
    (found,) = board.boards([tmp_path])
    assert (found.title, found.attacks, found.rank_by) == ("Digits", ("lira", "entropy"), "auc")
    assert [record.attack.spec for record in found.records] == ["lira"]


def test_each_declared_folder_is_a_board_and_the_rest_is_one(stored, tmp_path):
    for name in ("one", "two", "three"):
        stored(tmp_path / name, name)
    stored(tmp_path / "four", "four")
    declare(tmp_path / "one", 'title = "One"')
    found = board.boards([tmp_path / "one", tmp_path])
    assert [(each.title, sorted(r.attack.spec for r in each.records)) for each in found] == [
        ("One", ["one"]),
        ("", ["four", "three", "two"]),
    ]


def test_attacks_that_the_caller_declares_make_one_board_of_all(stored, tmp_path):
    declare(tmp_path / "one", 'title = "One"\nattacks = ["entropy"]')
    stored(tmp_path / "one", "entropy")
    stored(tmp_path / "two", "lira")
    (found,) = board.boards([tmp_path], ["lira"])
    assert (found.title, found.attacks, len(found.records)) == ("", ("lira",), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attacks = 'lira'", "attacks is a list"),
        ("attacks = []", "attacks is a list of one attack or more"),
        ("attacks = [1]", "attacks is a list"),
        ("attack = ['lira']", r"no entry 'attack'. Did you mean 'attacks'\? Entries: title, attacks, rank-by."),
        ("rank-by = 'acu'", r"Cannot rank by 'acu'. Did you mean 'auc'\?"),
        ("title = 3", "title and rank-by are texts"),
        ("title", "is not valid TOML"),
        ("attacks = ['lirra']", r"attacks: no attack named 'lirra'. Did you mean 'lira'\?"),
    ],
)
def test_a_wrong_declaration_names_the_file_and_what_is_right(stored, tmp_path, text, message):
    file = declare(tmp_path, text)
    stored(tmp_path)
    with pytest.raises(UsageError, match=message) as raised:
        board.boards([tmp_path])
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)


def test_a_declared_attack_is_told_as_records_tell_it(stored, tmp_path):
    stored(tmp_path, "lira:mode=offline")
    (found,) = board.boards([tmp_path], ["lira:mode=offline", "lira:mode=online", "lira"])
    assert found.attacks == ("lira:mode=offline", "lira"), "online is the default"
    stored(tmp_path, "not-installed:power=2")
    assert board.boards([tmp_path], ["not-installed:power=2"])[0].attacks == ("not-installed:power=2",)
    with pytest.raises(UnknownName, match=r"--attacks: no attack named 'lirra'\. Did you mean 'lira'"):
        board.boards([tmp_path], ["lirra"])


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["lira,rmia"], ["lira", "rmia"]),
        (["lira", "rmia"], ["lira", "rmia"]),
        (["lira:mode=offline,variance=global,rmia"], ["lira:mode=offline,variance=global", "rmia"]),
        (["lira:mode=offline,rmia:a=1,entropy"], ["lira:mode=offline", "rmia:a=1", "entropy"]),
        ([" lira , rmia,"], ["lira", "rmia"]),
        (["mine:path='a,b',lira"], ["mine:path='a,b'", "lira"]),
    ],
)
def test_names_are_separated_by_commas_and_so_are_options(texts, names):
    assert board.named(texts) == names


def test_of_one_cell_in_several_folders_the_newest_counts_and_both_are_named(stored, tmp_path):
    older, newer = stored(tmp_path / "a", day=1), stored(tmp_path / "b", shift=1.0, day=2)
    for places in ([tmp_path], [tmp_path / "b", tmp_path / "a"]):
        (found,) = board.boards(places)
        assert [record.created.day for record in found.records] == [2]
        assert found.replaced == [(newer, older)]


def test_a_file_that_is_named_twice_or_copied_replaces_nothing(stored, tmp_path):
    file = stored(tmp_path)
    shutil.copy(file, tmp_path / "copy.json")
    (found,) = board.boards([tmp_path, file])
    assert (len(found.records), found.replaced) == (1, [])


def test_records_of_other_code_do_not_replace_each_other(stored, tmp_path):
    stored(tmp_path / "a", day=1)
    stored(tmp_path / "b", day=2, environment={"torch": "9"})
    (found,) = board.boards([tmp_path])
    assert (len(found.records), found.replaced) == (2, [])


def test_bands_of_attacks_of_several_runs_are_made_of_raw_scores(stored, tmp_path):
    for attack in ("lira", "entropy"):
        stored(tmp_path, attack)
    (found,) = board.boards([tmp_path])
    assert [record.selection.attacks for record in found.records] == [["entropy", "lira"]] * 2
    assert all({"tpr@1%", "auc"} <= set(record.selection.bands) for record in found.records)


def test_without_raw_scores_there_are_no_bands(stored, tmp_path):
    stored(tmp_path, "lira")
    stored(tmp_path, "entropy").with_suffix(".scores.npz").unlink()
    (found,) = board.boards([tmp_path])
    assert [record.selection for record in found.records] == [None, None]


def test_a_board_whose_record_is_damaged_lacks_that_attack(stored, tmp_path):
    declare(tmp_path, 'attacks = ["lira", "not-installed"]')
    stored(tmp_path, "lira")
    stored(tmp_path, "not-installed").write_text("{")
    said = []
    (found,) = board.boards([tmp_path], invalid=said.append)
    assert (found.attacks, len(found.records), len(said)) == (("lira", "not-installed"), 1, 1)
