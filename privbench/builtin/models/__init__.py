"""Model architectures, by name: float32 inputs -> logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from privbench.errors import BadOption, did_you_mean

if TYPE_CHECKING:
    from torch import nn

ModelName: TypeAlias = Literal["mlp", "cnn", "mobilenet_v3_small", "resnet18", "hivit_tiny", "dae_mlp"]
WITH_DATA = "dae_mlp"
"""The model that is built by the task, because its encoder is trained on the task's reference examples (`dae.py`)."""
NAMES: tuple[str, ...] = tuple(name for name in get_args(ModelName) if name != WITH_DATA)
IMAGE_DIMENSIONS = 3


def build(name: str, shape: tuple[int, ...], classes: int, *, hidden: tuple[int, ...] = (256,)) -> nn.Module:
    """Return a fresh model, initialised from torch's global generator: (batch, *shape) float32 -> (batch, classes).

    shape: (channels, height, width) for images of any size that the model supports, or (features,) for tables
    hidden: sizes of the layers of `mlp`; the other models have fixed layers

    Raises BadOption for an unknown name, an image model on tables, or images that are too small.
    """
    if name == WITH_DATA:
        raise BadOption(f"model {name!r} is built by a task: its encoder is made from the task's reference examples.")
    if name not in NAMES:
        raise BadOption(f"No model named {name!r}.{did_you_mean(name, NAMES)} Models: {', '.join(NAMES)}.")
    if name == "mlp":
        from privbench.learn import mlp

        return mlp.build(shape, classes, hidden)
    if len(shape) != IMAGE_DIMENSIONS:
        raise BadOption(f"model {name!r} needs images; 'mlp' takes tables.")
    if name == "cnn":
        from privbench.learn import cnn

        return cnn.build(shape, classes)
    if name == "mobilenet_v3_small":
        from privbench.builtin.models import mobilenet

        return mobilenet.build(shape, classes)
    if name == "resnet18":
        from privbench.builtin.models import resnet

        return resnet.build(shape, classes)
    from privbench.builtin.models import hivit

    return hivit.build(shape, classes)
