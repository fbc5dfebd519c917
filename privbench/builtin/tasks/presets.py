"""Presets of published models and recipes, mostly for the CIFAR tasks and Tiny-ImageNet.

The CRL code warms up with one epoch at a tenth of the learning rate; here it is one epoch of linear warm-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DAE: Mapping[str, Any] = {"model": "dae_mlp", "hidden": (64, 32)}
"""The model of Triastcyn & Faltings (Figure 3): an MLP 64-32-classes on 64 codes of a stacked denoising autoencoder."""

_AUGMENTED = {
    "batch_size": 256,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "schedule": "steps",
    "warmup": 1.0,
    "crop": 4,
    "flip": 0.5,
}

HIVIT: Mapping[str, Any] = {
    # zhangxiaosong18/hivit's for ImageNet, with 5 epochs of warm-up for its 20, in batches of 256. Its augmentations
    # are replaced by crop and flip; label smoothing, mixup and cutmix are omitted, because each is a defense.
    **_AUGMENTED,
    "model": "hivit_tiny",
    "optimizer": "adamw",
    "epochs": 300,
    "lr": 5e-4,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup": 5.0,
}

CIFAR: Mapping[str, Mapping[str, Any]] = {
    "uai24": {  # JEKimLab/UAI24_CRL, conf/train/cifar100_mobilenetv3.yml
        **_AUGMENTED,
        "model": "mobilenet_v3_small",
        "epochs": 150,
        "milestones": (80 / 150, 130 / 150),
        "gamma": 0.1,
    },
    "uai24-resnet18": {  # the same, cifar100_resnet.yml
        **_AUGMENTED,
        "model": "resnet18",
        "epochs": 100,
        "milestones": (0.5, 0.8),
        "gamma": 0.1,
    },
    "selena": {  # inspire-group/MIAdefenseSELENA, CIFAR-100
        **_AUGMENTED,
        "model": "resnet18",
        "epochs": 200,
        "milestones": (0.3, 0.6, 0.8),
        "gamma": 0.2,
    },
    "relaxloss": {  # the schedule of DingfanChen/RelaxLoss, whose nets were ResNet-20 and VGG-11: no augmentation
        **_AUGMENTED,
        "model": "resnet18",
        "epochs": 300,
        "batch_size": 128,
        "weight_decay": 1e-4,
        "milestones": (0.5, 0.75),
        "gamma": 0.1,
        "warmup": 0.0,
        "crop": 0,
        "flip": 0.0,
    },
    "hivit": HIVIT,
    "cutout": {"cutout": 8},
}
