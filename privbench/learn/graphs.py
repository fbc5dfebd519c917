"""Recording of a loop's steps: the tensors that they change, obstacles, and CUDA graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from privbench.learn import lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch._ops import OpOverload

LOOKS = {
    "aten._local_scalar_dense.default": "asks for a tensor's value",
    "aten.equal.default": "asks for a tensor's value",
    "aten.nonzero.default": "selects by booleans, so that the shape depends on values",
    "aten.masked_select.default": "selects by booleans, so that the shape depends on values",
    "aten._unique2.default": "asks for distinct values, whose number depends on them",
    "aten.unique_dim.default": "asks for distinct values, whose number depends on them",
    "aten.unique_consecutive.default": "asks for distinct values, whose number depends on them",
    "aten.bincount.default": "counts values, whose number depends on them",
    "aten.repeat_interleave.Tensor": "repeats as often as a tensor says, so that the shape depends on values",
}
"""Operations that wait for a card, with a description of steps that use them."""
SELECTS = ("aten.index.Tensor", "aten.index_put.default", "aten.index_put_.default")
"""Operations that read values when given booleans."""
UNDECLARED = ("running_mean", "running_var")
"""Arguments that BatchNorm's operations change without declaring it in their schemas."""
KEPT = "it keeps a tensor for the next step in Python; it must write into one that stays"
NOWHERE = 0
"""The address of all tensors without elements."""


class Watch(TorchDispatchMode):
    """Records which existing tensors the operations inside it change, and which operations cannot be recorded.

    earlier: of the previous step, whose tensors a step must not use
    """

    def __init__(self, device: torch.device, earlier: Watch | None = None) -> None:
        super().__init__()
        self.device, self._earlier = device, earlier.made if earlier else {}
        self.changed: dict[int, Tensor] = {}
        """Changed tensors by address."""
        self.made: dict[int, StorageWeakRef] = {}
        """New tensors by address, without references, which would keep all activations of a large network."""
        self.calls = 0
        self.obstacle = ""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing here is compiled, and disabling torch's compiler would import it, in 1 s."""
        return False

    def __torch_dispatch__(
        self, func: OpOverload[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Execute one operation, and record its effects."""
        kwargs = kwargs or {}
        self.calls += 1
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.obstacle = self.obstacle or self._obstacle(func, given, args)
        for tensor in written(func, args, kwargs):
            if address(tensor) not in self.made:
                self.changed.setdefault(address(tensor), tensor)
        before = {address(tensor) for tensor in given}
        for at in (before & self._earlier.keys()) - self.made.keys() - {NOWHERE}:
            if not self._earlier[at].expired():
                self.obstacle = self.obstacle or KEPT
        result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and address(tensor) not in before:
                self.made[address(tensor)] = StorageWeakRef(tensor.untyped_storage())
        if any(isinstance(leaf, Tensor) and leaf.ndim and self._elsewhere(leaf.device) for leaf in tree_leaves(result)):
            self.obstacle = self.obstacle or "it makes tensors of another device"
        return result

    def unlike(self, earlier: Watch) -> str:
        """Return the difference between the operations of a step and an earlier one, or an empty text."""
        if self.changed.keys() - earlier.changed.keys():
            return "it changes other tensors than the step before"
        return ""

    def _obstacle(self, func: OpOverload[..., Any], given: Sequence[Tensor], args: Sequence[Any]) -> str:
        if str(func) in LOOKS:
            return f"it {LOOKS[str(func)]}"
        fills = str(func) != "aten.index.Tensor" and str(func) in SELECTS and args[2].numel() == 1  # reads no value
        booleans = str(func) in SELECTS and any(each is not None and each.dtype == torch.bool for each in args[1])
        if booleans and not fills:
            return "it selects by booleans, so that the shape depends on values"
        if str(func) == "aten.lift_fresh.default" and self.device.type == "cuda" and given[0].device.type == "cuda":
            return "it makes a tensor of Python's numbers"
        copies = str(func) in {"aten._to_copy.default", "aten.copy_.default"}
        if any(self._elsewhere(tensor.device) and (tensor.ndim or copies) for tensor in given):
            return "it uses tensors of another device"
        return ""

    def _elsewhere(self, device: torch.device) -> bool:
        return bool(device.type != self.device.type)


class Snapshot:
    """The state that steps change: saved, restored, compared."""

    def __init__(self, changed: Mapping[int, Tensor], generators: Sequence[torch.Generator]) -> None:
        self._tensors = [whole(tensor) for tensor in changed.values()]
        devices = set() if lanes.inside() else {tensor.device for tensor in self._tensors}  # which seeds others' there
        self._generators = [*generators, *map(default_generator, devices)]

    def take(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return a copy of the current state."""
        return [tensor.clone() for tensor in self._tensors], [each.get_state() for each in self._generators]

    def put(self, state: tuple[list[Tensor], list[Tensor]]) -> None:
        """Restore a state, in place."""
        for tensor, value in zip(self._tensors, state[0], strict=True):
            tensor.copy_(value)
        for generator, value in zip(self._generators, state[1], strict=True):
            generator.set_state(value)

    def distance(self, state: tuple[list[Tensor], list[Tensor]]) -> float:
        """Return the largest difference from a state, relative to the largest value of its tensor."""
        return max((_distance(one, other) for one, other in zip(self._tensors, state[0], strict=True)), default=0.0)


def cuda_graph(steps: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
    """Record steps, without executing them, as a CUDA graph on the current stream, and return the replay function."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    stream = torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            steps()
    except BaseException:  # otherwise generators would still consider themselves recorded, and refuse to draw
        for generator in (*generators, default_generator(stream.device)):
            generator.graphsafe_set_state(torch.Generator(stream.device))
        raise
    replay: Callable[[], None] = graph.replay
    return replay


def written(func: OpOverload[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operation changes."""
    for place, argument in enumerate(func._schema.arguments):  # noqa: SLF001 - there is no public way to it
        declared = argument.alias_info is not None and argument.alias_info.is_write
        if declared or argument.name in UNDECLARED:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def address(tensor: Tensor) -> int:
    """Return the address of a tensor's storage, shared by its views."""
    at: int = tensor.untyped_storage().data_ptr()
    return at


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor's storage, flat, of its dtype."""
    storage = tensor.untyped_storage()
    flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return flat.set_(storage, 0, (storage.nbytes() // tensor.element_size(),))


def default_generator(device: torch.device) -> torch.Generator:
    """Return torch's default generator of a device, which third-party layers use."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


def _distance(one: Tensor, other: Tensor) -> float:
    if torch.equal(one, other):
        return 0.0
    if not one.is_floating_point():
        return float("inf")
    one, other = one.double(), other.double()
    if not torch.equal(one.isfinite(), other.isfinite()):
        return float("inf")
    difference, scale = (one - other).nan_to_num().abs().max(), other.nan_to_num(posinf=0, neginf=0).abs().max()
    return float(difference / scale) if scale else float(difference)
