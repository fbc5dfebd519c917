import hashlib
import json

import numpy as np
import pytest

from privbench.errors import UsageError
from privbench.records import files
from privbench.records import record as records


def test_lists_stand_on_one_line():
    text = files.readable({"a": [1, 2, 3], "b": {"c": [[0.5, 1], [2, 3]]}})
    assert json.loads(text) == {"a": [1, 2, 3], "b": {"c": [[0.5, 1], [2, 3]]}}
    assert '"a": [1,2,3]' in text


def test_the_hash_of_scores_covers_scores_and_memberships():
    scores, member = np.arange(6.0).reshape(2, 3), np.eye(2, 3, dtype=bool)
    first = files.scores_sha256(scores, member)
    assert first == files.scores_sha256(np.asfortranarray(scores), member)
    assert first != files.scores_sha256(scores + 1e-12, member)
    assert first != files.scores_sha256(scores, ~member)


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        records.load([tmp_path / "nowhere"])


def test_a_field_that_came_later_counts_in_a_digest_only_where_it_says_something():
    from privbench.records.parts import Component, Data
    from privbench.records.record import Record

    sizes = dict.fromkeys(("classes", "pool", "reference", "validation", "test", "duplicates"), 2)
    component = Component(spec="x", name="x", plugin="privbench", source="s")
    numbers = dict.fromkeys(("models", "targets", "shadows", "seed"), 2)
    one = Record(
        **dict.fromkeys(("task", "defense", "attack"), component),
        **numbers,
        data=Data(name="x", fingerprint="f", **sizes),
        threat_model="logits",
        device="cpu",
        status="failed",
    )
    content = json.loads(one.model_dump_json(exclude={*records.Record.NOT_REPRODUCED, *records.Record.LATER}))
    first = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    assert one.compute_digest() == first
    assert one.model_copy(update={"family": "reconstruction"}).compute_digest() != first
    epsilons = {f"epsilon_{name}": float("inf") for name in ("smallest", "median", "largest")}
    claimed = one.model_copy(update={"claims": records.Claims(release=0, releases=2, **epsilons)})
    assert claimed.compute_digest() != first
    assert Record.model_validate_json(claimed.model_dump_json()) == claimed
    salted = one.model_copy(update={"salt": "0123456789abcdef0123456789abcdef"})
    assert salted.compute_digest() != first
    assert salted.identity == (*one.identity, salted.salt)
    assert {"findings", "family", "reconstruction"} <= records.Record.LATER


def stored(folder, attack="lira", **changes):
    """A record of an attack that failed, in a folder."""
    component = records.Component(spec=attack, name=attack, plugin="privbench", source="s")
    sizes = dict.fromkeys(("classes", "pool", "reference", "validation", "test", "duplicates"), 2)
    made = records.Record(
        **dict.fromkeys(("task", "defense", "attack"), component),
        **dict.fromkeys(("models", "targets", "shadows", "seed"), 2),
        data=records.Data(name="x", fingerprint="f", **sizes),
        threat_model="logits",
        device="cpu",
        status="failed",
        **changes,
    )
    return files.save(made.sealed(), folder)


def test_what_is_written_is_version_2_and_both_are_read(tmp_path):
    (new,) = records.load([stored(tmp_path)])
    (old,) = records.load([stored(tmp_path, schema_version=1)])
    assert (new.schema_version, old.schema_version) == (2, 1)
    assert new.compute_digest() != old.compute_digest()
