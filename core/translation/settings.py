"""What a translation run may vary, and the protocol and data that all its trials share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from core.settings import Recipe, SchedulerType, Settings


class ModelSettings(Settings):
    """Structure of the encoder-decoder Transformer; encoder and decoder are equally deep."""

    d_model: int = Field(default=256, ge=8, le=4096)
    """Width of every position."""
    num_heads: int = Field(default=4, ge=1, le=64)
    """Attention heads; must divide d_model."""
    num_layers: int = Field(default=3, ge=1, le=48)
    """Layers of the encoder and of the decoder each."""
    d_ff: int = Field(default=1024, ge=8, le=16384)
    """Width of the feed-forward layer."""
    dropout: float = Field(default=0.1, ge=0, le=0.9)
    """Probability of dropping a unit after embeddings, attention and feed-forward."""
    norm: Literal["pre", "post"] = "pre"
    """LayerNorm before each sublayer, with final norms, or after each residual sum."""


class FinetuneSettings(Recipe):
    """Optimizer and schedule of stage B."""


class PretrainSettings(Recipe):
    """The fixed recipe of stage A."""

    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    lr_scheduler_type: SchedulerType = "inverse_sqrt"
    warmup_steps: int | None = Field(default=400, ge=0)
    label_smoothing_factor: float = Field(default=0.1, ge=0, lt=1)


class TranslationProtocol(Settings):
    """What every trial of a study shares besides its data."""

    pretrain_pairs: int = Field(default=20_000, ge=1)
    """Training pairs of the first corpus to use, from its start; all where it has fewer."""
    finetune_pairs: int = Field(default=50_000, ge=1)
    """The same for the second corpus."""
    validation_pairs: int | None = Field(default=None, ge=1)
    """Validation pairs to score, from the start of each set; all by default."""
    test_pairs: int | None = Field(default=None, ge=1)
    """Test pairs to score; all by default."""
    vocab_size: int = Field(default=8_000, ge=64, le=1_000_000)
    """Entries of the joint BPE vocabulary, the four specials included."""
    max_len: int = Field(default=64, ge=4, le=4096)
    """Longest sequence in tokens, `<eos>` included; longer training pairs are truncated."""
    batch_size: int = Field(default=128, ge=1)
    """Sentence pairs per optimizer update."""
    pretrain_steps: int = Field(default=1_500, ge=0)
    """Updates of stage A; 0 leaves it out."""
    finetune_steps: int = Field(default=500, ge=1)
    """Updates of stage B."""
    finetune_corpus: Literal["pretrain", "finetune"] = "finetune"
    """The corpus that stage B trains on; `pretrain` for a study of one stage on captions."""
    eval_every: int = Field(default=100, ge=1)
    """Updates between evaluations; divides both stages' lengths."""
    beam_size: int = Field(default=5, ge=1, le=64)
    """Beams on the test set and for shown samples; 1 is greedy."""
    length_penalty: float = Field(default=1.0, ge=0, le=10)
    """Exponent of the length that divides a hypothesis' log-probability."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest global L2 norm of the gradient."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto` takes the lowest precision that the device does well."""
    pretrain: PretrainSettings = PretrainSettings()

    @model_validator(mode="after")
    def _on_one_grid(self) -> Self:
        for name in ("pretrain_steps", "finetune_steps"):
            if getattr(self, name) % self.eval_every:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) must be a multiple of eval_every "
                    f"({self.eval_every})"
                )
        return self


class CorpusFiles(Settings):
    """Where a corpus lies in the data folder: `{folder}/{train}.{language}`, `.gz` allowed."""

    folder: str
    train: str = "train"
    validation: str = "val"
    test: str | None = None
    """The test set; only the first corpus needs one."""


class PocketSettings(Settings):
    """Sizes of the built-in corpus, in pairs."""

    seed: int = 1
    pretrain_pairs: int = Field(default=4_000, ge=1)
    finetune_pairs: int = Field(default=2_000, ge=1)
    validation_pairs: int = Field(default=400, ge=1)
    test_pairs: int = Field(default=400, ge=1)


class TranslationData(Settings):
    """Which corpora, and where from."""

    source: str = "pocket"
    """`pocket` (built in), `hub` (the Hugging Face hub), or a folder (`./hub` if so called)."""
    source_language: str = Field(default="de", pattern=r"^[A-Za-z0-9_-]{1,16}$")
    target_language: str = Field(default="en", pattern=r"^[A-Za-z0-9_-]{1,16}$")
    """Language suffixes of a folder's files."""
    pretrain: CorpusFiles = CorpusFiles(folder="multi30k", test="test_2016_flickr")
    finetune: CorpusFiles = CorpusFiles(folder="iwslt2017")
    pocket: PocketSettings = PocketSettings()
