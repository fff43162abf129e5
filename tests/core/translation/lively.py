"""Models whose decoding is worth comparing, and sources for them."""

from __future__ import annotations

import torch
from torch import Tensor

from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import EOS_ID, PAD_ID, SPECIAL_TOKENS

VOCAB = 89
SETTINGS = ModelSettings(d_model=24, num_heads=3, num_layers=2, d_ff=41, dropout=0.1)


def lively_model(seed: int, norm: str = "pre", push: float = 2.5) -> Transformer:
    """A random model in evaluation whose hypotheses vary with the source and end at many lengths.

    At its usual start a model repeats one token: larger weights make it mix, and the last norm's
    bias moved towards `<eos>`, which adds `push` to its logit, makes that a rival of the others.
    """
    torch.manual_seed(seed)
    model = Transformer(SETTINGS.model_copy(update={"norm": norm}), VOCAB, PAD_ID)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        model.embedding.weight.mul_(4)
        towards = model.embedding.weight[EOS_ID]
        if norm == "pre":
            model.decoder_norm.bias.add_(towards * (push / towards.norm() ** 2))
    return model.eval()


def random_ids(*shape: int, seed: int = 1) -> Tensor:
    """Ids of no special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(SPECIAL_TOKENS), VOCAB, shape, generator=generator)


def random_sources(count: int, seed: int) -> list[list[int]]:
    """Sources of 0 to 8 tokens, an empty one among them."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 9, (count,), generator=generator).tolist()
    lengths[count // 2] = 0
    return [random_ids(length, seed=seed + i).tolist() for i, length in enumerate(lengths)]
