"""The same model as transformers' M2M100, and models whose decoding is worth comparing."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import M2M100Config, M2M100ForConditionalGeneration

from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS

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


def twin(model: Transformer) -> M2M100ForConditionalGeneration:
    """M2M100 of the same sizes with the same weights."""
    settings = model.settings
    config = M2M100Config(
        vocab_size=model.embedding.num_embeddings,
        d_model=settings.d_model,
        encoder_layers=settings.num_layers,
        decoder_layers=settings.num_layers,
        encoder_attention_heads=settings.num_heads,
        decoder_attention_heads=settings.num_heads,
        encoder_ffn_dim=settings.d_ff,
        decoder_ffn_dim=settings.d_ff,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        dropout=0.0,
        attention_dropout=0.0,
        activation_function="relu",
        scale_embedding=True,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=BOS_ID,
    )
    theirs = M2M100ForConditionalGeneration(config).eval().to(model.embedding.weight.dtype)
    missing, unexpected = theirs.load_state_dict(_translated_weights(model), strict=False)
    assert not unexpected
    # What is missing is tied to the shared embedding.
    assert all("embed" in name or name == "lm_head.weight" for name in missing)
    return theirs


_SIMPLE = {
    "self_attention.out": "self_attn.out_proj",
    "self_residual.norm": "self_attn_layer_norm",
    "cross_attention.query": "encoder_attn.q_proj",
    "cross_attention.out": "encoder_attn.out_proj",
    "cross_residual.norm": "encoder_attn_layer_norm",
    "feed_forward.expand": "fc1",
    "feed_forward.contract": "fc2",
    "feed_residual.norm": "final_layer_norm",
}
_FUSED = {
    "self_attention.query_key_value": ("self_attn", "qkv"),
    "cross_attention.key_value": ("encoder_attn", "kv"),
}


def _translated_weights(model: Transformer) -> dict[str, Tensor]:
    weights = {}
    for name, weight in model.state_dict().items():
        stack, *rest = name.split(".")
        if stack == "embedding":
            weights["model.shared.weight"] = weight
        elif stack.endswith("_norm"):
            weights[f"model.{stack.removesuffix('_norm')}.layer_norm.{rest[0]}"] = weight
        else:
            layer, *module, kind = rest
            prefix = f"model.{stack}.layers.{layer}"
            own = ".".join(module)
            if own in _SIMPLE:
                weights[f"{prefix}.{_SIMPLE[own]}.{kind}"] = weight
            else:
                attention, letters = _FUSED[own]
                for letter, part in zip(letters, weight.chunk(len(letters)), strict=True):
                    weights[f"{prefix}.{attention}.{letter}_proj.{kind}"] = part
    return weights
