"""The project's model as `transformers` has it: the same sizes, the same mathematics, the same
weights. M2M100 has norms before sublayers, FSMT after them; positions are alike in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import BOS_ID, EOS_ID, PAD_ID

if TYPE_CHECKING:
    from transformers import M2M100Config, PreTrainedModel


def m2m100_config(
    settings: ModelSettings, vocab_size: int, *, attention: str = "sdpa"
) -> M2M100Config:
    """M2M100 of these sizes; `attention` is `eager` or `sdpa`, the default of `transformers`."""
    from transformers import M2M100Config

    return M2M100Config(
        vocab_size=vocab_size, attn_implementation=attention, **_shared_settings(settings)
    )


def twin(model: Transformer, *, attention: str = "sdpa") -> PreTrainedModel:
    """The sizes and weights of `model`, in evaluation; FSMT knows no `attention`."""
    from transformers import (
        FSMTConfig,
        FSMTForConditionalGeneration,
        M2M100ForConditionalGeneration,
    )

    vocab_size = model.embedding.num_embeddings
    theirs: PreTrainedModel
    if model.settings.norm == "pre":
        theirs = M2M100ForConditionalGeneration(
            m2m100_config(model.settings, vocab_size, attention=attention)
        )
    else:
        theirs = FSMTForConditionalGeneration(
            FSMTConfig(
                src_vocab_size=vocab_size,
                tgt_vocab_size=vocab_size,
                tie_word_embeddings=True,
                forced_eos_token_id=None,
                **_shared_settings(model.settings),
            )
        )
    theirs = theirs.eval().to(model.embedding.weight.dtype)
    missing, unexpected = theirs.load_state_dict(_translated_weights(model), strict=False)
    assert not unexpected
    # What is missing is tied to an embedding, or holds positions.
    tied = ("lm_head.weight", "model.decoder.output_projection.weight")
    assert all("embed" in name or name in tied for name in missing)
    return theirs


def _shared_settings(settings: ModelSettings) -> dict[str, Any]:
    """What both configurations call alike."""
    return {
        "d_model": settings.d_model,
        "encoder_layers": settings.num_layers,
        "decoder_layers": settings.num_layers,
        "encoder_attention_heads": settings.num_heads,
        "decoder_attention_heads": settings.num_heads,
        "encoder_ffn_dim": settings.d_ff,
        "decoder_ffn_dim": settings.d_ff,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "dropout": settings.dropout,
        "attention_dropout": settings.dropout,
        "activation_function": "relu",
        "scale_embedding": True,
        "bos_token_id": BOS_ID,
        "pad_token_id": PAD_ID,
        "eos_token_id": EOS_ID,
        "decoder_start_token_id": BOS_ID,
    }


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
    shared = "model.shared" if model.settings.norm == "pre" else "model.decoder.embed_tokens"
    for name, weight in model.state_dict().items():
        stack, *rest = name.split(".")
        if stack == "embedding":
            weights[f"{shared}.weight"] = weight
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
