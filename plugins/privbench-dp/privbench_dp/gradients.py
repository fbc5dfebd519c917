"""Per-example gradients by Opacus, also for networks that modify the output of a layer in place."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from opacus import GradSampleModule
from opacus.grad_sample.functorch import prepare_layer
from opacus.layers.dp_rnn import DPGRU, DPLSTM, DPRNN
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from privbench.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Iterator

RECURRENT = (DPRNN, DPLSTM, DPGRU)
"""Layers of Opacus whose inner linear layers are hooked in their place."""
HAVE = "mlp, cnn, mobilenet_v3_small and resnet18"
"""The built-in models whose layers all have gradients per example."""


@contextlib.contextmanager
def per_example_gradients(net: nn.Module) -> Iterator[nn.Module]:
    """Lend the net wrapped so that `backward` of a sum of losses leaves `grad_sample` (b, ...) at each parameter.

    It is as it was afterwards. Buffers are let pass, for fixed ones such as a standardisation's do no harm;
    `fit_privately` refuses a net that changes its own. Raises BadOption for a layer that has no such gradients.
    """
    if any(isinstance(module, _BatchNorm) for module in net.modules()):
        raise BadOption("BatchNorm mixes the examples of a batch, which then have no gradients of their own.")
    wrapped = _Hooked(net, loss_reduction="sum", strict=False)
    try:
        yield wrapped
    finally:
        wrapped.to_standard_module()


class _Hooked(GradSampleModule):
    """Opacus's wrapper with hooks on what layers return, in place of hooks on layers.

    Behind a layer with a backward hook torch forbids to change its output in place, as ReLU(inplace=True) and the
    `+=` of torchvision's residual blocks do. A hook on a tensor sees its gradient as it was before the change.
    """

    def add_hooks(
        self, *, loss_reduction: str = "mean", batch_first: bool = True, force_functorch: bool = False
    ) -> None:
        """Listen to every layer that has weights of its own. Raises BadOption."""
        net, handles = self._module, []
        layers = [layer for layer in self.iterate_submodules(net) if not isinstance(layer, RECURRENT)]
        names = {layer: _named(name, layer) for name, layer in net.named_modules()}
        for layer in layers:
            if force_functorch or type(layer) not in self.GRAD_SAMPLERS:
                try:
                    prepare_layer(layer, batch_first=batch_first)
                except NotImplementedError as error:
                    raise _refusal(names[layer], error) from error
        for layer in layers:
            handles.append(layer.register_forward_hook(self.capture_activations_hook))
            handles.append(layer.register_forward_hook(self._listener(names[layer], loss_reduction, batch_first)))
        self.autograd_grad_sample_hooks = net.autograd_grad_sample_hooks = handles  # where Opacus removes them
        self.enable_hooks()

    def _listener(self, name: str, loss_reduction: str, batch_first: bool) -> Any:
        """Return a forward hook that has a layer's gradients per example computed when those of its output are."""

        def listen(layer: nn.Module, _inputs: Any, output: Any) -> None:
            first: Tensor = output if isinstance(output, Tensor) else output[0]
            if first.requires_grad:
                first.register_hook(lambda gradient: capture(layer, gradient))

        def capture(layer: nn.Module, gradient: Tensor) -> None:
            try:
                self.capture_backprops_hook(layer, None, (gradient,), loss_reduction, batch_first)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if type(layer) in self.GRAD_SAMPLERS:
                    raise
                raise _refusal(name, error) from error

        return listen


def _named(name: str, layer: nn.Module) -> str:
    return f"layer {name!r}, a {type(layer).__name__}," if name else type(layer).__name__


def _refusal(name: str, error: Exception) -> BadOption:
    told = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
    return BadOption(f"the model's {name} has no gradients per example ({told}); train one that has, as {HAVE} do.")
