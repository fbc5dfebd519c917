"""CUDA graph probe: whether a card can capture a training step, in a separate process, which a failure may spoil.

    python -m privbench.learn.graph_probe 0                       # prints nothing, or the reason why not

0 is the index of the card among those that are visible.
"""

from __future__ import annotations

import sys

from privbench.errors import one_line


def obstacle(index: int) -> str:
    """Capture one step of a small network and replay it; return the reason for a failure, or an empty text."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.cuda.set_device(index)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10)
    net = nn.Sequential(*layers).cuda()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, fused=True)
    x, y = torch.randn(32, 1, 8, 8, device="cuda"), torch.arange(32, device="cuda") % 10

    def step() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimiser.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # lazy initialisation happens before the capture
            step()
    torch.cuda.current_stream().wait_stream(stream)
    optimiser.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    graph.replay()
    torch.cuda.synchronize()
    if all(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)):
        return "a replay of a captured step changes no weights"
    return "" if all(bool(new.isfinite().all()) for new in net.parameters()) else "a replay gives no finite weights"


if __name__ == "__main__":
    try:
        print(obstacle(int(sys.argv[1])))  # noqa: T201 - its parent reads it
    except Exception as error:  # noqa: BLE001 - whatever torch or a driver raises is the answer
        print(one_line(error))  # noqa: T201
