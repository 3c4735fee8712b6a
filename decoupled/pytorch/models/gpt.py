"""gpt: a decoder-only transformer (Radford et al. 2019), in a size for characters."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoupled.errors import UsageError
from decoupled.nn.model import ModelSite
from decoupled.pytorch.models.samples import Depth, Share, Size, tokens


class Embedding(nn.Module):
    """Tokens and their positions as vectors."""

    def __init__(self, tokens: int, context: int, width: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(tokens, width), nn.Embedding(context, width)

    def forward(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.token(x) + self.position(torch.arange(x.shape[1], device=x.device))
        return embedded


class Block(nn.Module):
    """Attention to what came before, and an MLP, each behind a norm and beside a skip connection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        samples, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(samples, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).reshape(samples, length, width))
        added: Tensor = x + self.mlp(self.norm2(x))
        return added


def make(
    spec: ModelSite,
    width: Size = 128,
    depth: Depth = 4,
    heads: Size = 4,
    context: Size = 1024,
    dropout: Share = 0.0,
    tied: bool = False,
) -> list[nn.Module]:
    """An embedding, `depth` blocks, and a norm with the output layer, which has the embedding's weights if `tied`.

    `context` is the greatest length where the lengths vary.
    """
    if width % heads:
        raise UsageError(f"gpt: width={width} is no multiple of heads={heads}, which share it.")
    vocabulary, length = tokens(spec, "gpt"), spec.inputs.arrays[0].shape[0] or context
    embedding, output = Embedding(vocabulary, length, width), nn.Linear(width, spec.outputs, bias=not tied)
    if tied:
        output.weight = embedding.token.weight
    blocks = [Block(width, heads, dropout) for _ in range(depth)]
    return [embedding, *blocks, nn.Sequential(nn.LayerNorm(width), output)]
