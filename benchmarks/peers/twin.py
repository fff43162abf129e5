"""The project's model as `transformers` has it: the same sizes, the same mathematics, the same
weights.
"""

from __future__ import annotations

from torch import Tensor
from transformers import M2M100Config, M2M100ForConditionalGeneration

from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import BOS_ID, EOS_ID, PAD_ID


def m2m100_config(settings: ModelSettings, vocab_size: int, *, attention: str) -> M2M100Config:
    """M2M100 of these sizes; `attention` is `eager` or `sdpa`, the default of `transformers`."""
    return M2M100Config(
        vocab_size=vocab_size,
        d_model=settings.d_model,
        encoder_layers=settings.num_layers,
        decoder_layers=settings.num_layers,
        encoder_attention_heads=settings.num_heads,
        decoder_attention_heads=settings.num_heads,
        encoder_ffn_dim=settings.d_ff,
        decoder_ffn_dim=settings.d_ff,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        dropout=settings.dropout,
        attention_dropout=settings.dropout,
        activation_function="relu",
        scale_embedding=True,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=BOS_ID,
        attn_implementation=attention,
    )


def twin(model: Transformer, *, attention: str = "sdpa") -> M2M100ForConditionalGeneration:
    """M2M100 with the sizes and weights of `model`, norms before sublayers, in evaluation."""
    config = m2m100_config(model.settings, model.embedding.num_embeddings, attention=attention)
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
