"""ART's model inversion: MI-Face, a descent from a black image to one that the target assigns to a class."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import Evidence, Needs, component, option
from privbench.errors import CellFailed

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    Array = npt.NDArray[Any]

IMAGE_DIMENSIONS = 3


@component
class ArtMIFace:
    """ART's MIFace: gradient steps on the target's confidence in the class, from black, in the box [0, 1].

    As in ART, and unlike Fredrikson et al.: the result is the last image, not the best on the path; a descent continues
    while p_c >= 1 - threshold or while the cost is above the highest of the last `window` steps, and ends otherwise,
    where Fredrikson et al. end it when p_c >= threshold. With probabilities, a target that is certain of another class
    for black has p_c near 0: the descent ends after a step, and the image stays black. With logits that seldom happens.
    `inversion` is privbench's own, after Fredrikson et al.
    """

    name: ClassVar[str] = "art-mi-face"
    paper: ClassVar[str] = (
        "Fredrikson, Jha, Ristenpart: Model Inversion Attacks that Exploit Confidence Information, CCS 2015, as the "
        "Adversarial Robustness Toolbox has it (1807.01069)"
    )
    needs: ClassVar[Needs] = Needs(answers="none", model=True)

    answers: Literal["logits", "probabilities"] = option("logits", "confidence of the target for ART")
    steps: int = option(200, "maximum number of steps (ART's default is 10000)", ge=1)
    window: int = option(100, "number of earlier steps that the cost is compared with", ge=1)
    threshold: float = option(0.99, "threshold of ART's stopping criterion", ge=0)
    lr: float = option(0.1, "step size", gt=0)

    def reconstruct(self, evidence: Evidence, classes: Array) -> Array:
        """Return (len(classes), height, width, channels) float32 in [0, 1]. Raises CellFailed for tables."""
        if len(evidence.input_shape) != IMAGE_DIMENSIONS:
            raise CellFailed("art-mi-face makes images, but this task's inputs are tables.")
        height, width, channels = evidence.input_shape
        images = self.descend(evidence.model, np.asarray(classes), (channels, height, width), evidence.classes)
        if not np.isfinite(images).all():
            raise CellFailed("art-mi-face: the model's gradients are NaN or infinite on images in [0, 1].")
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=np.float32)

    def descend(self, model: nn.Module, labels: Array, shape: tuple[int, ...], classes: int) -> Array:
        """Return what ART finds for each label, (b, channels, height, width); the model is left as it is."""
        from art.attacks.inference.model_inversion import MIFace

        from privbench_art.bridge import lent_generators

        with lent_generators(0):
            found = MIFace(
                self._estimator(model, shape, classes),
                max_iter=self.steps,
                window_length=self.window,
                threshold=self.threshold,
                learning_rate=self.lr,
                batch_size=len(labels),
                verbose=False,
            ).infer(None, labels)
        return np.asarray(found)

    def _estimator(self, model: nn.Module, shape: tuple[int, ...], classes: int) -> Any:
        """Return ART's classifier around a copy of the model: ART changes its mode, and its parameters' gradients."""
        from art.estimators.classification import PyTorchClassifier
        from torch import nn

        own = copy.deepcopy(model).eval().requires_grad_(False)
        device = next((each.device.type for each in itertools.chain(own.parameters(), own.buffers())), "cpu")
        whole = own if self.answers == "logits" else nn.Sequential(own, nn.Softmax(dim=-1))
        return PyTorchClassifier(
            whole,
            loss=nn.CrossEntropyLoss(),
            input_shape=shape,
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="cpu" if device == "cpu" else "gpu",
        )
