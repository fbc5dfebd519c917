"""HiViT-T, a hierarchical vision transformer, adapted to small images.

Zhang et al., HiViT: A Simpler and More Efficient Design of Hierarchical Vision Transformer, ICLR 2023.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from privbench.builtin.models.stem import LARGE, field, on_field
from privbench.learn import DropPath

WIDTH = 384
DEPTHS = (1, 1, 10)
HEADS = 6
STEM_MLP_RATIO, MLP_RATIO = 3, 4
DROP_PATH = 0.05
INNER = 4  # embeddings along each side of a patch; two mergings give one token
HUGE = 128
STD = 0.02

Norm = partial(nn.LayerNorm, eps=1e-6)


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return HiViT-T (Zhang et al., HiViT, ICLR 2023); images of any size, padded to 32 pixels and to whole patches.

    As in the authors' code (zhangxiaosong18/hivit, hivit_tiny_224): width 384 in the main stage of 10 blocks of
    attention with 6 heads; before it two stages of two MLPs each, of width 96 and 192, each followed by a merging of
    2x2 embeddings; absolute and relative positions; stochastic depth rising to 0.05. A patch, which is one token of
    the main stage, has 4x4 pixels below 64 pixels (the shorter side), 8x8 from there on and 16x16, as theirs, from 128
    on: 64 tokens at 32 and at 64 pixels. Difference in training: the recipe's weight decay applies to all
    parameters, theirs not to positions, norms and biases.
    """
    channels, height, width = shape
    short = min(height, width)
    patch = INNER if short < LARGE else 2 * INNER if short < HUGE else 4 * INNER
    grid = (field(height, patch) // patch, field(width, patch) // patch)
    return on_field(HiViT(channels, grid, patch, classes), height, width, multiple=patch)


class HiViT(nn.Module):
    """(b, channels, tall * patch, wide * patch) -> logits (b, classes), with tall * wide tokens in the main stage."""

    def __init__(self, channels: int, grid: tuple[int, int], patch: int, classes: int) -> None:
        super().__init__()
        drops = iter(torch.linspace(0, DROP_PATH, 2 * sum(DEPTHS[:-1]) + DEPTHS[-1], device="cpu").tolist())
        first, pixels = WIDTH // 4, patch // INNER
        self.embed = nn.Conv2d(channels, first, pixels, stride=pixels)
        self.embed_norm = Norm(first)
        stem: list[nn.Module] = []
        for width, depth in zip((first, 2 * first), DEPTHS[:-1], strict=True):
            stem += [Residual(width, mlp(width, STEM_MLP_RATIO), next(drops)) for _ in range(2 * depth)]
            stem += [Merge(width)]
        self.stem = nn.Sequential(*stem, nn.Flatten(1, 2))
        self.position = nn.Parameter(torch.zeros(grid[0] * grid[1], WIDTH))
        self.main = nn.Sequential(
            *(
                Residual(WIDTH, part, drop)
                for drop in drops
                for part in (Attention(WIDTH, HEADS, grid), mlp(WIDTH, MLP_RATIO))
            )
        )
        self.norm = Norm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)
        nn.init.trunc_normal_(self.position, std=STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        embedded = self.embed_norm(self.embed(x).permute(0, 2, 3, 1))
        tokens = self.main(self.stem(embedded) + self.position)
        logits: Tensor = self.head(self.norm(tokens.mean(dim=1)))
        return logits


class Residual(nn.Module):
    """x + part(norm(x)); in training, the second term of an example is dropped with probability `drop`."""

    def __init__(self, width: int, part: nn.Module, drop: float) -> None:
        super().__init__()
        self.norm, self.part = Norm(width), part
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, ..., width) to the same shape."""
        result: Tensor = x + self.drop(self.part(self.norm(x)))
        return result


class Merge(nn.Module):
    """(b, 2h, 2w, width) -> (b, h, w, 2 * width): four neighbours, normalised and mapped together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = Norm(4 * width)
        self.map = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merge."""
        b, tall, wide, width = x.shape
        fours = x.reshape(b, tall // 2, 2, wide // 2, 2, width).permute(0, 1, 3, 2, 4, 5)
        merged: Tensor = self.map(self.norm(fours.reshape(b, tall // 2, wide // 2, 4 * width)))
        return merged


class Attention(nn.Module):
    """Self-attention over the tokens of a grid, with a learned bias per head and offset between two tokens."""

    rows: Tensor
    columns: Tensor

    def __init__(self, width: int, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * grid[0] - 1, 2 * grid[1] - 1))
        nn.init.trunc_normal_(self.bias, std=STD)
        self.register_buffer("rows", offsets(grid[0]), persistent=False)
        self.register_buffer("columns", offsets(grid[1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, tokens, width) to the same shape."""
        b, tokens, width = x.shape
        q, k, v = self.qkv(x).view(b, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q * (width // self.heads) ** -0.5) @ k.transpose(-2, -1) + self.biases()
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, tokens, width)
        result: Tensor = self.project(mixed)
        return result

    def biases(self) -> Tensor:
        """Return the biases (heads, tokens, tokens) of all pairs of tokens.

        Looked up by products with one-hot rows: the gradient of indexing has no fixed order of summation on a GPU, or
        on a CPU with several threads; that of a product has.
        """
        columns = self.bias @ self.columns.flatten(0, 1).T  # (heads, vertical offset, wide * wide)
        both = self.rows.flatten(0, 1) @ columns  # (heads, tall * tall, wide * wide)
        tall, wide = len(self.rows), len(self.columns)
        return both.view(-1, tall, tall, wide, wide).transpose(2, 3).reshape(-1, tall * wide, tall * wide)


def offsets(side: int) -> Tensor:
    """Return (side, side, 2 * side - 1), one-hot: the offset between each two positions."""
    places = torch.arange(side)
    return nn.functional.one_hot(places[:, None] - places + side - 1, 2 * side - 1).float()


def mlp(width: int, ratio: int) -> nn.Sequential:
    """Return the two-layer perceptron of a block."""
    return nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))
