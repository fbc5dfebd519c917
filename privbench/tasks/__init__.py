"""The built-in tasks: data sets, each with a model and a recipe, all of it overridable by options.

Importing this package imports neither torch nor scikit-learn: a task reads its data in `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench.tasks.celeba import CelebA
from privbench.tasks.cifar import Cifar10, Cifar100
from privbench.tasks.digits import Digits
from privbench.tasks.faces import Faces
from privbench.tasks.mnist import FashionMnist, Mnist
from privbench.tasks.npz import Npz
from privbench.tasks.svhn import Svhn
from privbench.tasks.tiny_imagenet import TinyImageNet

if TYPE_CHECKING:
    from privbench.tasks.base import DataTask

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
