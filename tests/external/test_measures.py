import numpy as np
import pytest

from privbench.api import Measurement
from privbench.external import audit_dataset
from privbench.options.fields import component
from privbench.records import audit_record


@component
class Looker:
    """Looks at what a published set has, and perhaps at what it has not."""

    name = "looker"
    paper = "none"
    wants: str = ""

    def measure(self, population, ctx):
        if self.wants == "role":
            population.dataset.role("test")
        if self.wants == "model":
            population.model(0)
        member, pool = population.members(0), population.dataset.role("pool")
        sizes = {"members": int(member.sum()), "pool": len(pool), "reference": len(ctx.reference)}
        drawn = np.float64(ctx.rng("any").random())
        tables = {"Sizes": [{"of": name, "n": np.int64(n)} for name, n in sizes.items()]}
        published = population.synthetic(0)
        return Measurement({**sizes, "drawn": drawn, "published": len(published)}, tables, {"y": pool.y}, ["a note"])


@pytest.fixture
def given():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 3)).astype(np.float32) for n in (40, 30, 100)]


def test_an_audit_sees_one_release(given):
    audited = audit_dataset(*given, attack="gan-leaks", audit=[Looker()], command="again")
    (one,) = audited.audits
    assert one.status == "ok"
    assert {name: one.values[name] for name in ("members", "pool", "reference", "published")} == {
        "members": 40,
        "pool": 80,
        "reference": 60,
        "published": 30,
    }
    assert one.tables["Sizes"][0] == {"of": "members", "n": 40}
    assert (one.defense.name, one.task.name, one.models, one.notes) == ("given", "dataset", 1, ["a note"])
    assert one.data == audited[0].data


def test_the_same_seed_draws_the_same(given):
    first, second, third = (
        audit_dataset(*given, attack="gan-leaks", audit=[Looker()], seed=seed).audits[0] for seed in (1, 1, 2)
    )
    assert first.digest == second.digest
    assert first.values["drawn"] != third.values["drawn"]


def test_what_it_does_not_have_fails_with_a_reason(given):
    wanting = [Looker(wants="role"), Looker(wants="model")]
    audited = audit_dataset(*given, attack="gan-leaks", audit=wanting)
    role, model = audited.audits
    assert (role.status, model.status) == ("failed", "failed")
    assert role.reason == "it takes test examples, which a published set does not have."
    assert "AttributeError" in model.reason
    assert audited[0].status == "ok"


def test_saved_with_their_arrays(given, tmp_path):
    audited = audit_dataset(*given, attack="gan-leaks", audit=[Looker()])
    audited.save(tmp_path)
    assert [each.digest for each in audit_record.load([tmp_path])] == [audited.audits[0].digest]
    (file,) = tmp_path.rglob("*.arrays.npz")
    with np.load(file) as arrays:
        assert len(arrays["y"]) == 80


def test_built_in_audits_of_a_table(given):
    audited = audit_dataset(*given, attack="gan-leaks")
    names = {each.audit.name: each for each in audited.audits}
    assert all(each.status == "ok" for each in names.values()), [each.reason for each in names.values()]
    assert "expected-privacy-loss" in names
    assert names["expected-privacy-loss"].values["synthetic_points"] == 30
