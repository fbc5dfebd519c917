import numpy as np
import pytest

from privbench.errors import DataError
from privbench.external import files


def test_read(tmp_path):
    np.savez(tmp_path / "a.npz", labels=[1, 2], logits=np.zeros((2, 3)))
    found = files.read(tmp_path / "a.npz")
    assert set(found) == {"labels", "logits"}
    assert found["labels"].tolist() == [1, 2]


def test_what_is_no_archive_is_said_in_a_line(tmp_path):
    np.save(tmp_path / "single.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", labels=np.array([{}, []], dtype=object))
    (tmp_path / "text.npz").write_text("a,b\n1,2\n")
    np.savez(tmp_path / "whole.npz", labels=np.arange(1000))
    (tmp_path / "torn.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:600])
    said = {
        "none.npz": "no such file",
        "single.npy": "is a single array; save several by name",
        "objects.npz": "pickled objects, which are never loaded",
        "text.npz": "numpy.savez",
        "torn.npz": "no readable .npz file",
        ".": "is a folder; give a .npz file",
    }
    for name, text in said.items():
        with pytest.raises(DataError) as caught:
            files.read(tmp_path / name)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
