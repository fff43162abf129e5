"""Decodes by `torch.nn`'s Transformer as PyTorch's tutorial does: greedily, a sentence at a time,
all of the hypothesis computed anew at every token.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.decode_request import Ids, read_request, time_decoder, until_end
from benchmarks.peers.processes import Request, answer
from benchmarks.peers.setting import MAX_LEN
from core.translation.model import Transformer
from core.translation.special import BOS_ID, EOS_ID

_RENAMED = {
    "self_attention.query_key_value.weight": "self_attn.in_proj_weight",
    "self_attention.query_key_value.bias": "self_attn.in_proj_bias",
    "self_attention.out.weight": "self_attn.out_proj.weight",
    "self_attention.out.bias": "self_attn.out_proj.bias",
    "self_residual.norm.weight": "norm1.weight",
    "self_residual.norm.bias": "norm1.bias",
    "cross_attention.out.weight": "multihead_attn.out_proj.weight",
    "cross_attention.out.bias": "multihead_attn.out_proj.bias",
    "feed_forward.expand.weight": "linear1.weight",
    "feed_forward.expand.bias": "linear1.bias",
    "feed_forward.contract.weight": "linear2.weight",
    "feed_forward.contract.bias": "linear2.bias",
}


class Plain(nn.Module):
    """`nn.Transformer` with the weights of the project's model, norms before sublayers."""

    def __init__(self, ours: Transformer) -> None:
        super().__init__()
        settings = ours.settings
        self.embedding, self.positions = ours.embedding, ours.positions
        self.scale = math.sqrt(settings.d_model)
        self.transformer = nn.Transformer(
            settings.d_model,
            settings.num_heads,
            settings.num_layers,
            settings.num_layers,
            settings.d_ff,
            norm_first=True,
            batch_first=True,
        )
        self.transformer.load_state_dict(_renamed(ours.state_dict()))

    def embed(self, ids: Tensor) -> Tensor:
        """[B, T, D] of ids [B, T]."""
        x: Tensor = self.embedding(ids) * self.scale + self.positions(ids)
        return x


def measure(request: Request) -> dict[str, Any]:
    """Seconds and hypotheses of all sentences."""
    ours, _, sources = read_request(request)
    model = Plain(ours).eval()

    def decode(ids: Ids) -> Ids:
        return [decode_one(model, source) for source in ids]

    return time_decoder(decode, sources)


@torch.no_grad()
def decode_one(model: Plain, source: list[int]) -> list[int]:
    """The greedy hypothesis of a source, token ids without specials."""
    memory = model.transformer.encoder(model.embed(torch.tensor([[*source, EOS_ID]])))
    written = torch.tensor([[BOS_ID]])
    for _ in range(MAX_LEN):
        causal = nn.Transformer.generate_square_subsequent_mask(written.size(1))
        states = model.transformer.decoder(model.embed(written), memory, tgt_mask=causal)
        token = (states[:, -1] @ model.embedding.weight.T).argmax(-1, keepdim=True)
        written = torch.cat([written, token], 1)
        if int(token) == EOS_ID:
            break
    return until_end(written[0, 1:].tolist())


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The project's weights under the names of `nn.Transformer`."""
    found = {}
    for name, weight in weights.items():
        stack, *rest = name.split(".")
        if stack.endswith("_norm"):
            found[f"{stack.removesuffix('_norm')}.norm.{rest[0]}"] = weight
        elif stack in ("encoder", "decoder"):
            found[f"{stack}.layers.{rest[0]}.{'.'.join(rest[1:])}"] = weight
    renamed = {}
    for name, weight in found.items():
        prefix, _, own = name.rpartition(".layers.")
        layer, _, part = own.partition(".")
        place = f"{prefix}.layers.{layer}"
        if not prefix:
            renamed[name] = weight
        elif part in _RENAMED:
            renamed[f"{place}.{_RENAMED[part]}"] = weight
        elif part.startswith("feed_residual.norm"):
            # The last norm of a layer: the third of a decoder's, the second of an encoder's.
            number = 3 if prefix == "decoder" else 2
            renamed[f"{place}.norm{number}.{part.rpartition('.')[2]}"] = weight
        elif part.startswith("cross_residual.norm"):
            renamed[f"{place}.norm2.{part.rpartition('.')[2]}"] = weight
        elif part.startswith("cross_attention.query"):
            kind = part.rpartition(".")[2]
            keys = found[f"{place}.cross_attention.key_value.{kind}"]
            renamed[f"{place}.multihead_attn.in_proj_{kind}"] = torch.cat([weight, keys])
    return renamed


if __name__ == "__main__":
    answer(measure)
