import subprocess
import sys

import pytest

from privbench.executors import cores
from privbench.executors.cores import default_workers, quotas


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_quotas_of_both_versions_and_of_parents(tmp_path):
    put(tmp_path / "own", "4:cpu,cpuacct:/a/b\n3:memory:/m\n1:name=systemd:/\n0::/user/me\n")
    root = tmp_path / "cgroup"
    assert list(quotas(root, tmp_path / "own")) == []
    put(root / "user/me/cpu.max", "max 100000\n")
    put(root / "user/cpu.max", "250000 100000\n")
    put(root / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    put(root / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    put(root / "cpu,cpuacct/a/b/cpu.cfs_quota_us", "50000\n")
    put(root / "cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n")
    put(tmp_path / "cpu.max", "1 100000\n")  # above the root: nobody's
    assert sorted(quotas(root, tmp_path / "own")) == [0.5, 2.5]
    assert list(quotas(root, tmp_path / "missing")) == []


@pytest.mark.parametrize(("quota", "expected"), [("50000", 1), ("100000", 1), ("250000", 2), ("9900000", 4)])
def test_cores_are_those_of_the_affinity_and_the_quota(tmp_path, monkeypatch, quota, expected):
    put(tmp_path / "own", "0::/\n")
    put(tmp_path / "cgroup/cpu.max", f"{quota} 100000\n")
    monkeypatch.setattr(cores, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 2, 3, 4}, raising=False)
    assert default_workers("cpu") == expected


def test_alike_gpus_count_as_workers(monkeypatch):
    for alike, expected in ((0, 1), (4, 4)):
        monkeypatch.setattr("privbench.devices.alike", lambda alike=alike: alike)
        assert default_workers("cuda") == expected
    assert default_workers("cuda:1") == 1
    assert default_workers("mps") == 1


def test_executors_do_without_torch_and_numpy():
    code = (
        "import sys; from privbench.executors.local import default_workers; assert default_workers('cpu') > 0\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
