import errno
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from privbench.errors import CannotWrite, CorruptArtifact, UsageError
from privbench.store.artifact import save_array, save_json, save_tensors
from privbench.store.atomic import temporary_name
from privbench.store.store import State, Store, artifact_key, default_root

KIND, MANIFEST = "model", {"task": "digits", "index": 3, "lr": 0.1, "milestones": (0.5, 0.75), "preset": None}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "not" / "yet" / "there")


def put(store, manifest=MANIFEST, kind=KIND):
    with store.write(kind, manifest) as folder:
        save_array(folder / "logits", np.arange(12, dtype=np.float32).reshape(3, 4))
        save_tensors(folder / "weights", {"w": np.eye(2), "b": np.zeros((0, 3), np.int64)})
        save_json(folder / "release", {"facts": {"loss": 0.25}, "synthetic": False})
    return store.get(kind, manifest)


def fresh(store):
    """Return the same store as another process sees it: with nothing verified yet."""
    return Store(store.root)


# Keys


def test_the_key_is_the_digest_of_everything_that_shaped_it():
    assert artifact_key("a", {}) == "41cbca84a4586f6e8fb332aef70978b289118ec36db08736d80b5d6c108e9973"  # of ["a",{}]
    assert artifact_key("a", {"x": 1, "y": 2}) == artifact_key("a", {"y": 2, "x": 1})
    assert artifact_key("a", {"x": (1, 2)}) == artifact_key("a", MappingProxyType({"x": [1, 2]}))
    manifests = [{}, {"x": 1}, {"x": 1.0}, {"x": "1"}, {"x": True}, {"x": None}, {"x": [1]}, {"x": {"1": 1}}]
    manifests += [{"x": 0.1}, {"x": math.nextafter(0.1, 1)}, {"x": -0.0}, {"x": 0.0}, {"y": 1}]
    assert len({artifact_key(kind, m) for kind in "ab" for m in manifests}) == 2 * len(manifests)


@given(manifest=st.dictionaries(st.text(), JSON, max_size=4))
def test_a_key_survives_the_way_through_json(manifest):
    assert artifact_key("a", json.loads(json.dumps(manifest))) == artifact_key("a", manifest)


@pytest.mark.parametrize("value", [math.nan, math.inf, b"x", {1: 2}, {3}, object(), np.int64(1)])
def test_what_json_cannot_hold_is_refused_with_its_place(value):
    with pytest.raises(UsageError, match=r"^model\.task\.noise\[1\] = .* cannot be part of a cache key") as caught:
        artifact_key("model", {"task": {"noise": [0, value]}})
    assert "\n" not in str(caught.value)


# Round trips


def test_what_is_written_is_read(store):
    assert store.get(KIND, MANIFEST) is None
    assert not store.find(KIND, MANIFEST)
    assert not store.root.exists()
    before = datetime.now(timezone.utc)
    artifact = put(store)
    assert store.find(KIND, MANIFEST)
    assert artifact.manifest == json.loads(json.dumps(MANIFEST))
    assert artifact.key == artifact_key(KIND, MANIFEST)
    assert artifact.path == store.root / KIND / artifact.key[:2] / artifact.key
    assert before - timedelta(seconds=1) <= artifact.created <= datetime.now(timezone.utc)
    assert artifact.size == sum(path.stat().st_size for path in artifact.path.iterdir())
    logits = artifact.array("logits")
    assert isinstance(logits, np.memmap)
    assert not logits.flags.writeable
    np.testing.assert_array_equal(logits, np.arange(12, dtype=np.float32).reshape(3, 4))
    np.testing.assert_array_equal(artifact.array("logits.npy"), logits)
    assert artifact.json("release") == {"facts": {"loss": 0.25}, "synthetic": False}
    assert [a.key for a in store.artifacts()] == [a.key for a in store.artifacts(KIND)] == [artifact.key]
    assert list(store.artifacts("other")) == []
    assert list(store.verify()) == [(artifact, "")]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10)[::3],
        np.arange(3, dtype=">i4"),
        np.float32(3),
        np.array(4, np.int16),
        np.zeros((0, 3), np.uint8),
        np.array([True, False]),
        np.array([np.nan, -np.inf, 5e-324, -0.0]),
    ],
)
def test_arrays_of_any_layout_come_back_as_they_were(store, array):
    with store.write("a", {}) as folder:
        save_tensors(folder / "t", {"x": array, "other": np.ones(2)})
        save_array(folder / "x", array)
    artifact = store.get("a", {})
    for got in (artifact.tensors("t")["x"], artifact.array("x")):
        assert got.shape == np.shape(array)
        assert got.dtype.newbyteorder("=") == np.asarray(array).dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, array)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(array)) if got.dtype.kind == "f" else None
    assert artifact.tensors("t")["x"].flags.writeable


def test_no_objects_no_nan_in_json(store):
    with pytest.raises(ValueError, match=r"[Oo]bject"), store.write("a", {}) as folder:
        save_array(folder / "x", np.array([{}]))
    with pytest.raises(ValueError, match="JSON"), store.write("a", {}) as folder:
        save_json(folder / "x", math.nan)
    assert not store.find("a", {})
    assert list((store.root / ".tmp").iterdir()) == []


def test_a_file_that_is_not_there_is_one_line(store):
    artifact = put(store)
    for call in (artifact.array, artifact.tensors, artifact.json):
        with pytest.raises(
            CorruptArtifact, match=r"which holds logits\.npy, release\.json, weights\.safetensors"
        ) as caught:
            call("nothing")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "NUL.npy", "a b", "ends.", ".hidden", "é", "com1"])
def test_names_that_some_system_refuses_are_refused_on_all(store, name):
    with pytest.raises(ValueError, match="cannot name a file"), store.write("a", {}) as folder:
        (folder / name).write_bytes(b"")
    assert not store.find("a", {})


def test_only_plain_files_with_distinct_names(store):
    with pytest.raises(ValueError, match="no plain file"), store.write("a", {}) as folder:
        (folder / "sub").mkdir()
    with pytest.raises(ValueError, match="no plain file"), store.write("a", {}) as folder:
        (folder / "link").symlink_to(__file__)
    if sys.platform == "linux":
        with pytest.raises(ValueError, match="cannot name a file"), store.write("a", {}) as folder:
            [(folder / name).touch() for name in "xX"]
    for kind in ("../x", "CON", "nul", "A", ".tmp", ""):
        with pytest.raises(ValueError, match="cannot name a kind"):
            store.find(kind, {})


# Damage


def test_a_flipped_bit_of_any_file_is_found(store):
    artifact = put(store)
    rng = np.random.default_rng(0)
    for name in ("manifest.json", *artifact.files):
        path, content = artifact.path / name, (artifact.path / name).read_bytes()
        places = range(0, len(content), 3 if name == "manifest.json" else 11)
        for place in places:
            damaged = bytearray(content)
            damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            [(_, fault)] = store.verify()
            assert name in fault, place
            assert "\n" not in fault
        path.write_bytes(content)
    assert [fault for _, fault in store.verify()] == [""]


def damage_truncate(path):
    with (path / "logits.npy").open("r+b") as file:
        file.truncate(100)


def damage_extend(path):
    with (path / "logits.npy").open("ab") as file:
        file.write(b"x")


def damage_edit(path):
    text = (path / "manifest.json").read_text().replace('"index": 3', '"index": 4')
    (path / "manifest.json").write_text(text)


REPLACEMENTS = {
    "a folder": lambda path, aside: path.mkdir(),
    "a link": lambda path, aside: path.symlink_to(aside),
    "a dead link": lambda path, aside: path.symlink_to("nowhere"),
    "a pipe": lambda path, aside: os.mkfifo(path),
}


def damage_by(replacement, name):
    def damage(path):
        aside = (path / name).rename(path.parent / "aside")
        REPLACEMENTS[replacement](path / name, aside)

    return damage


def empty(path):
    for file in path.iterdir():
        file.unlink()


DAMAGES = {
    "truncated": (damage_truncate, "has 100 bytes, but was written with 176"),
    "extended": (damage_extend, "has 177 bytes, but was written with 176"),
    "extra file": (lambda path: (path / "extra").touch(), "'extra' does not belong there"),
    "extra folder": (lambda path: (path / "extra").mkdir(), "'extra' does not belong there"),
    "missing file": (lambda path: (path / "release.json").unlink(), "'release.json' is missing"),
    "missing manifest": (lambda path: (path / "manifest.json").unlink(), "'manifest.json' is missing"),
    "empty manifest": (lambda path: (path / "manifest.json").write_text(""), "cannot be read"),
    "binary manifest": (lambda path: (path / "manifest.json").write_bytes(b"\xff\x00"), "cannot be read"),
    "other JSON": (lambda path: (path / "manifest.json").write_text("[1]"), "cannot be read"),
    "nested JSON": (lambda path: (path / "manifest.json").write_text("[" * 100_000), "cannot be read"),
    "newer format": (lambda path: (path / "manifest.json").write_text('{"format": 2}'), "format 2; this version"),
    "edited manifest": (damage_edit, "has other content"),
    "other layout": (
        lambda path: (path / "manifest.json").write_text((path / "manifest.json").read_text() + "\n"),
        "has other content",
    ),
    "no files": (empty, "'manifest.json' is missing"),
}
if sys.platform != "win32":  # where links take a privilege, and there are no pipes
    for how in REPLACEMENTS:
        DAMAGES[f"{how} for a file"] = (damage_by(how, "logits.npy"), "'logits.npy' has ")
        DAMAGES[f"{how} for the manifest"] = (damage_by(how, "manifest.json"), "'manifest.json' is not a file")
        if how != "a folder":
            DAMAGES[f"{how} for the artifact"] = (damage_by(how, ""), "is not a folder")


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_reported_moved_aside_and_made_good(store, name, caplog):
    damage, message = DAMAGES[name]
    artifact = put(store)
    whole = put(store, {"index": 4})
    damage(artifact.path)
    faults = {found.key: fault for found, fault in store.verify()}
    assert message in faults.pop(artifact.key)
    assert faults == {whole.key: ""}
    with pytest.raises(CorruptArtifact, match=re.escape(message)):
        store.find(KIND, MANIFEST)
    assert store.states([(KIND, MANIFEST), (KIND, {"index": 4}), (KIND, {})]) == [
        State.DAMAGED,
        State.SOUND,
        State.ABSENT,
    ]
    assert os.path.lexists(artifact.path)
    with caplog.at_level(logging.WARNING):
        assert store.get(KIND, MANIFEST) is None
    assert message in caplog.text
    assert "\n" not in caplog.messages[0]
    assert not os.path.lexists(artifact.path)
    assert len(list((store.root / ".quarantine").iterdir())) == 1
    assert put(store).array("logits").shape == (3, 4)
    assert {fault for _, fault in store.verify()} == {""}
    assert store.sweep(quarantine=True) >= 0
    assert list((store.root / ".quarantine").iterdir()) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_made_again_takes_the_place_of_what_is_damaged(store, name):
    artifact = put(store)
    DAMAGES[name][0](artifact.path)
    with store.write(KIND, MANIFEST) as folder:
        save_json(folder / "release", {"facts": {}})
    assert store.find(KIND, MANIFEST).json("release") == {"facts": {}}


def test_damage_that_is_known_is_not_told_again(store, caplog):
    damage_truncate(put(store).path)
    with caplog.at_level(logging.WARNING):
        assert store.get(KIND, MANIFEST, told=True) is None
    assert caplog.messages == []


def test_a_broken_disk_is_a_damaged_artifact(store, monkeypatch):
    put(store)

    def broken(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("privbench.store.artifact.file_sha256", broken)
    with pytest.raises(CorruptArtifact, match=f"cannot be read: {os.strerror(errno.EIO)}"):
        store.find(KIND, MANIFEST)
    assert store.states([(KIND, MANIFEST)]) == [State.DAMAGED]


def test_an_artifact_in_the_place_of_another_is_found(store):
    first, second = put(store), put(store, {"index": 4})
    store.remove(first)
    first.path.parent.mkdir(exist_ok=True)
    second.path.rename(first.path)
    [(_, fault)] = store.verify()
    assert "belongs to another artifact" in fault
    assert store.get(KIND, MANIFEST) is None


def test_damage_after_the_first_look_is_found_too(store):
    path = put(store).path / "logits.npy"
    old = time.time() - 100
    for file in path.parent.iterdir():
        os.utime(file, (old, old))
    assert store.get(KIND, MANIFEST) is not None
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert store.get(KIND, MANIFEST) is None


def test_files_are_compared_once_per_process(store, monkeypatch):
    artifact = put(store)
    old = time.time() - 100
    for file in artifact.path.iterdir():
        os.utime(file, (old, old))
    assert store.get(KIND, MANIFEST) is not None
    monkeypatch.setattr("privbench.store.artifact.file_sha256", lambda path: pytest.fail("read again"))
    assert store.get(KIND, MANIFEST) is not None
    assert fresh(store).get(KIND, MANIFEST) is not None


# Publishing


def test_nothing_is_published_before_the_end_nor_after_an_exception(store):
    writing = store.write(KIND, MANIFEST)
    folder = writing.__enter__()
    save_array(folder / "logits", np.ones(3))
    assert not store.find(KIND, MANIFEST)
    assert list(store.artifacts()) == []
    assert writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None) is False
    assert not store.find(KIND, MANIFEST)
    assert not folder.exists()


def test_who_publishes_first_stays(store):
    with store.write(KIND, MANIFEST) as late:
        save_json(late / "who", "late")
        with store.write(KIND, MANIFEST) as early:
            save_json(early / "who", "early")
    assert store.get(KIND, MANIFEST).json("who") == "early"
    assert not late.exists()


def test_a_damaged_rival_does_not_stay(store, caplog):
    damage_truncate(put(store).path)
    with store.write(KIND, MANIFEST) as folder:
        save_json(folder / "who", "late")
    assert store.get(KIND, MANIFEST).json("who") == "late"
    assert "quarantine" in caplog.text


def test_threads_that_race_agree(store):
    def work():
        for index in range(10):
            put(store, {"index": index})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fault for _, fault in store.verify()] == [""] * 10
    assert list((store.root / ".tmp").iterdir()) == []


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
import privbench.store.artifact as a, privbench.store.atomic, privbench.store.store as s
store, mode, n = s.Store(sys.argv[1]), sys.argv[2], 0
if mode == "lines":
    os.fsync = lambda descriptor: None  # it matters to a power cut, not to kill -9, and takes most of the time
files = {m.__file__ for m in (a, privbench.store.atomic, s)}

def put(index):
    with store.write("a", {"index": index}) as folder:
        a.save_array(folder / "x", np.arange(2000) + index)
        a.save_tensors(folder / "t", {"w": np.full(500, index)})

def at_line(frame, event, arg):     # kill -9 before the n-th line of the store's own code
    global n
    if frame.f_code.co_filename in files:
        if event == "line":
            n -= 1
            if n == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return at_line

put(-1)
random.seed(0)
for turn in range(10_000):
    child = os.fork()
    if not child:
        if mode == "lines":
            n = turn + 1
            sys.settrace(at_line)
            put(0)
            os._exit(0)
        for index in range(turn, 10_000):
            put(index)
    if mode == "random":
        time.sleep(random.random() * 0.08)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    faults = [fault for _, fault in store.verify() if fault]
    left = store.sweep()
    assert not faults, faults
    assert not list((store.root / ".tmp").iterdir())
    if mode == "lines":
        key = s.artifact_key("a", {"index": 0})
        path = store.root / "a" / key[:2] / key
        assert path.exists() == (store.find("a", {"index": 0}) is not None)
        if path.exists():
            store.remove(store.get("a", {"index": 0}))
        if not os.WIFSIGNALED(status):
            break
    elif turn == 12:
        break
print(turn, len(list(store.artifacts())))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork, no SIGKILL")
@pytest.mark.parametrize("mode", ["lines", "random"])
def test_kill_9_at_any_instant_leaves_all_or_nothing(tmp_path, mode):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, script, tmp_path / "store", mode]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    turns, published = map(int, done.stdout.split())
    if mode == "lines":
        assert turns > 100  # or the killing was not where the writing is
    else:
        assert published > 5


# Housekeeping


def test_sweep_spares_the_living(store):
    put(store)
    temporary = store.root / ".tmp"
    with store.write(KIND, {"index": 9}) as mine:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        left = temporary / mine.name.replace(f"{os.getpid()}-", f"{dead.pid}-")
        left.mkdir()
        (left / "x").write_bytes(bytes(1000))
        elsewhere = temporary / (left.name[:-8] + "00000000")
        elsewhere.mkdir()
        unknown = temporary / "notes"
        unknown.mkdir()
        assert store.sweep() == 1000
        assert sorted(temporary.iterdir()) == sorted([mine, elsewhere, unknown])
        assert store.sweep() == 0
    assert store.find(KIND, {"index": 9})


def test_remove(store):
    artifact = put(store)
    other = put(store, {"index": 4})
    logits = artifact.array("logits")
    store.remove(artifact)
    store.remove(artifact)
    assert not store.find(KIND, MANIFEST)
    assert [a.key for a in store.artifacts()] == [other.key]
    if sys.platform != "win32":
        assert logits[2, 3] == 11  # who reads it reads on


def test_foreign_files_are_nobodys_artifacts(store):
    artifact = put(store)
    (store.root / ".DS_Store").touch()
    (store.root / "notes").mkdir()
    (store.root / KIND / "README").touch()
    (artifact.path.parent / "README").touch()
    assert list(store.verify()) == [(artifact, "")]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_root_that_is_a_file_is_one_line(tmp_path, place):
    (tmp_path / "file").touch()
    store = Store(tmp_path / place)
    assert store.get("a", {}) is None
    assert list(store.verify()) == []
    for use in (store.ensure_writable, lambda: store.write("a", {}).__enter__()):
        with pytest.raises(
            UsageError, match=r"^Cannot write to the store .*file.*: it is not a folder; name"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_root_that_cannot_be_written_is_one_line(store, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    store.ensure_writable()
    with store.write("a", {}) as folder:
        save_json(folder / "x", 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "mkdir", refuse)
            with pytest.raises(UsageError, match=r"Cannot write to the store .*: Permission denied; name another"):
                store.ensure_writable()
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UsageError, match="Permission denied"), store.write("a", {"b": 1}) as folder:
        save_json(folder / "x", 1)
    assert not folder.exists()


def _full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def _no_number(*args, **kwargs):
    raise OSError("1000 requested and 512 written")  # NumPy's


def _rust(*args, **kwargs):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("library", "fails", "save"),
    [
        ("numpy.save", _no_number, lambda folder: save_array(folder / "x", np.zeros(3))),
        ("safetensors.numpy.save_file", _rust, lambda folder: save_tensors(folder / "x", {"a": np.zeros(3)})),
        ("pathlib.Path.write_text", _full, lambda folder: save_json(folder / "x", 1)),
    ],
    ids=["array", "tensors", "json"],
)
def test_a_full_disk_is_one_line_that_names_the_store(store, monkeypatch, library, fails, save):
    monkeypatch.setattr(library, fails)
    message = rf"^Cannot write to the store {store.root}: No space left on device; name another"
    with pytest.raises(CannotWrite, match=message), store.write("a", {}) as folder:
        save(folder)
    assert not folder.exists()


def test_what_fails_while_a_folder_is_lent_is_not_laid_to_the_store(store):
    with pytest.raises(FileNotFoundError), store.write("a", {}):
        Path("/nowhere/at/all").read_bytes()
    with pytest.raises(OSError, match="a plugin's"), store.write("a", {}):
        raise OSError("a plugin's")


def test_a_disk_that_is_full_is_noticed_by_writing(store, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", _full)
    with pytest.raises(CannotWrite, match="No space left on device"):
        store.ensure_writable()


def test_the_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVBENCH_STORE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("PRIVBENCH_STORE")
    assert default_root().parts[-2:] == ("privbench", "store") or "privbench" in str(default_root())
    assert Store("~/x").root == Path.home() / "x"


def test_importing_the_store_does_not_import_torch_or_numpy():
    code = "import sys, privbench.store.store; assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def precious(tmp_path):
    """A folder outside the store, whose files no command of the store may remove."""
    folder = tmp_path / "precious"
    put(Store(folder), MANIFEST)
    (folder / "thesis").write_text("years of work")
    dead = f"999999999-{'0' * 8}-{temporary_name().rpartition('-')[2]}"
    (folder / dead).mkdir()
    (folder / dead / "thesis").write_text("years of work")
    return folder


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_nothing_is_removed_through_a_link(store, precious):
    before = everything(precious)
    artifact = put(store, {"index": 1})
    key = artifact_key(KIND, MANIFEST)
    (store.root / "linked").symlink_to(precious / KIND)
    (store.root / KIND / key[:2]).symlink_to(precious / KIND / key[:2])
    (store.root / ".quarantine").symlink_to(precious)
    own = artifact.path.parent / (artifact.key[:2] + "f" * 62)
    own.symlink_to(next(precious.glob(f"{KIND}/*/*")))
    assert [each.key for each in store.artifacts()] == [artifact.key]
    for each in list(store.artifacts()):
        store.remove(each)
    store.sweep(quarantine=True)
    shutil.rmtree(store.root / ".tmp")
    (store.root / ".tmp").symlink_to(precious)
    store.sweep(quarantine=True)
    assert everything(precious) == before
    assert (precious / "thesis").read_text() == "years of work"


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_links_among_the_leftovers_are_removed_themselves(store, precious):
    before = everything(precious)
    put(store)
    (store.root / ".quarantine").mkdir()
    (store.root / ".quarantine" / "link").symlink_to(precious)
    (store.root / ".quarantine" / "file").write_text("x")
    store.sweep(quarantine=True)
    assert not everything(store.root / ".quarantine")
    assert everything(precious) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_damage_behind_a_link_is_told_and_stays_where_it_is(store, precious):
    outside = next(precious.glob(f"{KIND}/*/*"))
    (outside / "manifest.json").write_text("{}")
    before = everything(precious)
    key = artifact_key(KIND, MANIFEST)
    store.root.mkdir(parents=True)
    (store.root / KIND).symlink_to(precious / KIND)
    with pytest.raises(UsageError, match="is a link out of"):
        fresh(store).get(KIND, MANIFEST)
    assert outside.name == key
    assert everything(precious) == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
@pytest.mark.parametrize("content", [None, b"[" * 100_000, b"9" * 5000], ids=["pipe", "nest", "digits"])
def test_a_manifest_that_would_hang_or_exhaust_a_reader_is_damage(store, content):
    file = put(store).path / "manifest.json"
    file.unlink()
    os.mkfifo(file) if content is None else file.write_bytes(content)
    assert not list(store.artifacts())
    assert [fault for _, fault in store.verify() if "manifest.json" in fault]
    assert fresh(store).get(KIND, MANIFEST) is None
