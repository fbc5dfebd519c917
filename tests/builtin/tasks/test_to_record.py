"""Every task that reads downloaded files, from files in their real layout to a record."""

import pytest

from privbench.builtin.tasks.downloads import DownloadedTask
from privbench.plugins.loading import catalogue, resolve
from privbench.run import Grid, run

MADE = {
    "mnist": "mnist",
    "fashion-mnist": "fashion_mnist",
    "svhn": "svhn",
    "cifar10": "cifar",
    "cifar100": "cifar100",
    "celeba": "celeba",
    "tiny-imagenet": "tiny",
}
"""Names of tasks, and of the fixtures that write their files."""


def test_every_task_that_reads_downloads_is_tried_here():
    assert set(MADE) == {name for name, each in catalogue().of("task").items() if issubclass(each.cls, DownloadedTask)}


@pytest.mark.parametrize("name", MADE)
def test_a_run_on_the_files_gives_a_record(name, request, inline, store, tmp_path):
    request.getfixturevalue(MADE[name])
    task = resolve("task", f"{name}:model=mlp,hidden=4,epochs=1,crop=0,flip=0,warmup=0")
    grid = Grid([task], [resolve("defense", "ce")], [resolve("attack", "correctness")], models=2)
    (record,) = run(grid, store, inline, out=tmp_path / "out")
    assert (record.status, record.reason) == ("ok", "")
    assert record.task.name == name
    assert record.utility.test_accuracy.n == 2 * record.data.test
    before = len(inline.ran)
    (again,) = run(grid, store, inline)
    assert (again.digest, len(inline.ran)) == (record.digest, before), "nothing is trained again"
