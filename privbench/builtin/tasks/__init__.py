"""The built-in tasks: data sets, each with a model and a recipe, all configurable by options.

Importing this package imports neither torch nor scikit-learn: a task reads its data in `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench.builtin.tasks.celeba import CelebA
from privbench.builtin.tasks.cifar import Cifar10, Cifar100
from privbench.builtin.tasks.digits import Digits
from privbench.builtin.tasks.faces import Faces
from privbench.builtin.tasks.mnist import FashionMnist, Mnist
from privbench.builtin.tasks.npz import Npz
from privbench.builtin.tasks.svhn import Svhn
from privbench.builtin.tasks.tiny_imagenet import TinyImageNet

if TYPE_CHECKING:
    from privbench.builtin.tasks.base import DataTask

BUILTIN: list[type[DataTask]] = [
    Digits,
    Mnist,
    FashionMnist,
    Svhn,
    Cifar10,
    Cifar100,
    CelebA,
    TinyImageNet,
    Faces,
    Npz,
]
