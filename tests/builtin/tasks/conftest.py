"""Tiny data sets in the layouts of the real ones, with torchvision's checksums replaced by theirs."""

import gzip
import hashlib
import pickle

import numpy as np
import pytest
from PIL import Image

RNG = np.random.default_rng(0)


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(root, monkeypatch):
    """MNIST of 60 + 20 images of 28x28."""
    return write_mnist(root, "MNIST", monkeypatch)


@pytest.fixture
def fashion_mnist(root, monkeypatch):
    """Fashion-MNIST of 60 + 20 images of 28x28."""
    return write_mnist(root, "FashionMNIST", monkeypatch)


def write_mnist(root, name, monkeypatch):
    import torchvision.datasets

    raw = root / name / "raw"
    raw.mkdir(parents=True)
    resources = []
    for part, n in (("train", 60), ("t10k", 20)):
        for kind, array in (("images-idx3", RNG.integers(0, 256, (n, 28, 28))), ("labels-idx1", np.arange(n) % 10)):
            path = raw / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array), mtime=0))
            resources.append((path.name, md5(path)))
    monkeypatch.setattr(getattr(torchvision.datasets, name), "resources", resources)
    return raw


@pytest.fixture
def svhn(root, monkeypatch):
    """SVHN of 40 + 20 images; its zeros are written as 10."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    root.mkdir()
    known = {}
    for part, n in (("train", 40), ("test", 20)):
        path = root / f"{part}_32x32.mat"
        x = np.moveaxis(np.arange(n, dtype=np.uint8)[:, None, None, None] + np.zeros((n, 32, 32, 3), np.uint8), 0, -1)
        savemat(path, {"X": x, "y": (np.arange(n) % 10 + 1)[:, None].astype(np.uint8)})
        known[part] = ["http://nowhere.invalid/", path.name, md5(path)]
    monkeypatch.setattr(SVHN, "split_list", known)
    return root


def write_cifar(folder, names, key, content=None, *, n=20, classes=10):
    """Write batches of n images whose planes are 0, 1 and 2, and return their checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    plane = np.repeat(np.arange(3, dtype=np.uint8), 1024)
    known = []
    for i, name in enumerate(names):
        x = np.tile(plane, (n, 1))
        x[:, 0] = i
        made = {"data": x, key: (np.arange(n) % classes).tolist(), "filenames": ["a.png"] * n, "batch_label": b"batch"}
        (folder / name).write_bytes(pickle.dumps(made, protocol=2) if content is None else content)
        known.append([name, md5(folder / name)])
    return known


@pytest.fixture
def cifar(root, monkeypatch):
    """CIFAR-10 of 5 x 20 + 20 images."""
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    names = [f"data_batch_{i}" for i in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", write_cifar(folder, names, "labels"))
    monkeypatch.setattr(CIFAR10, "test_list", write_cifar(folder, ["test_batch"], "labels"))
    return folder


@pytest.fixture
def cifar100(root, monkeypatch):
    """CIFAR-100 of 400 + 100 images."""
    from torchvision.datasets import CIFAR100

    folder = root / "cifar-100-python"
    made = {
        name: write_cifar(folder, [name], "fine_labels", n=n, classes=100)
        for name, n in (("train", 400), ("test", 100))
    }
    monkeypatch.setattr(CIFAR100, "train_list", made["train"])
    monkeypatch.setattr(CIFAR100, "test_list", made["test"])
    return folder


@pytest.fixture
def celeba(root, monkeypatch):
    """CelebA of 60 images of 178x218: 30 for training, 10 for validation, 20 for the test."""
    from torchvision.datasets import CelebA

    home = root / "celeba"
    (home / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, 61)]
    for i, name in enumerate(names):
        pixels = np.full((218, 178, 3), 255, np.uint8)
        pixels[45:173, 25:153] = 3 * i  # the centre crop of 128x128
        Image.fromarray(pixels).save(home / "img_align_celeba" / name, quality=100)
    rows = [f"{name}  {1 if i % 2 else -1} {1 if i % 3 else -1}" for i, name in enumerate(names)]
    (home / "list_attr_celeba.txt").write_text("60\nSmiling Young\n" + "\n".join(rows) + "\n")
    parts = [f"{name} {0 if i < 30 else 1 if i < 40 else 2}" for i, name in enumerate(names)]
    (home / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    listed = [("", md5(home / name), name) for name in ("list_attr_celeba.txt", "list_eval_partition.txt")]
    monkeypatch.setattr(CelebA, "file_list", listed)
    return home


@pytest.fixture
def tiny(root):
    """Tiny-ImageNet of 3 classes with 10 + 4 images each; one of them is grey, as some of the real ones are."""
    home = root / "tiny-imagenet-200"
    lines = []
    (home / "val" / "images").mkdir(parents=True)
    for label, wnid in enumerate(("n01", "n02", "n03")):
        (home / "train" / wnid / "images").mkdir(parents=True)
        for i in range(10):
            image = Image.new("L" if i == 3 else "RGB", (64, 64), 80 * label if i == 3 else (80 * label, 0, 0))
            image.save(home / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
        for i in range(4):
            name = f"val_{label}_{i}.JPEG"
            Image.new("RGB", (64, 64), (80 * label, 0, 0)).save(home / "val" / "images" / name)
            lines.append(f"{name}\t{wnid}\t0\t0\t62\t62\n")
    (home / "val" / "val_annotations.txt").write_text("".join(lines))
    return home
