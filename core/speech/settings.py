"""What a speech run may vary, and the protocol and data that all its trials share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from core.settings import Recipe, Settings


class ModelSettings(Settings):
    """Structure of the decoder-only Transformer over audio frames and text."""

    d_model: int = Field(default=96, ge=8, le=4096)
    """Width of every position."""
    num_heads: int = Field(default=4, ge=1, le=64)
    """Attention heads; must divide d_model."""
    num_layers: int = Field(default=4, ge=1, le=48)
    d_ff: int = Field(default=384, ge=8, le=16384)
    """Width of the feed-forward layer."""
    dropout: float = Field(default=0.1, ge=0, le=0.9)
    """Probability of dropping a unit after embeddings, attention and feed-forward."""
    norm: Literal["pre", "post"] = "pre"
    """LayerNorm before each sublayer, with a final norm, or after each residual sum."""


class TrainSettings(Recipe):
    """Optimizer and schedule."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1)


class SpeechProtocol(Settings):
    """What every trial of a study shares besides its data."""

    train_steps: int = Field(default=1_500, ge=1)
    """Optimizer updates."""
    eval_every: int = Field(default=250, ge=1)
    """Updates between evaluations; divides train_steps."""
    batch_size: int = Field(default=16, ge=1)
    """Utterances per optimizer update."""
    validation_utterances: int = Field(default=200, ge=1)
    """Validation utterances to score; those of a manifest from its start."""
    test_utterances: int = Field(default=400, ge=1)
    """Test utterances to score."""
    max_audio_s: float = Field(default=8.0, gt=0, le=60)
    """Longest utterance in seconds."""
    max_units: int = Field(default=8, ge=1, le=1024)
    """Longest text in units."""
    units: Literal["words", "characters"] = "words"
    """What the head is over: the words of the training texts, or their characters."""
    mel_bands: int = Field(default=40, ge=8, le=128)
    """Bands of the log-mel spectrogram, of windows of 25 ms every 10 ms."""
    frames_per_position: int = Field(default=4, ge=1, le=32)
    """Consecutive frames that one position of the model holds."""
    noise: float = Field(default=0.02, ge=0, le=1)
    """White noise added in training, at most so loud beside the utterance, by amplitude."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest global L2 norm of the gradient."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto` takes the lowest precision that the device does well."""

    @model_validator(mode="after")
    def _on_one_grid(self) -> Self:
        if self.train_steps % self.eval_every:
            raise ValueError(
                f"train_steps ({self.train_steps}) must be a multiple of eval_every "
                f"({self.eval_every})"
            )
        return self


class SyntheticSettings(Settings):
    """Sizes of the built-in recordings of digit words."""

    seed: int = 1
    speakers: int = Field(default=8, ge=1, le=1_000)
    """Each with a pitch, a length of the vocal tract and a speed of its own."""
    takes: int = Field(default=6, ge=3, le=1_000)
    """Recordings of each word by each speaker: the first for the test set, the second for
    validation, the rest to train on."""


class StringSettings(Settings):
    """How single recordings are joined to utterances."""

    seed: int = 1
    """Of the validation and test strings."""
    min_words: int = Field(default=1, ge=1, le=100)
    max_words: int = Field(default=7, ge=1, le=100)
    min_pause_s: float = Field(default=0.05, ge=0, le=5)
    max_pause_s: float = Field(default=0.25, ge=0, le=5)
    """Shortest and longest pause between two words."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("words", "pause_s"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if least > most:
                raise ValueError(f"min_{name} ({least}) must not exceed max_{name} ({most})")
        return self


class ManifestFiles(Settings):
    """Lists of recordings in the data folder, one `path<TAB>text` a line."""

    train: str = "train.tsv"
    validation: str = "val.tsv"
    test: str | None = "test.tsv"


class SpeechData(Settings):
    """Which recordings, and where from."""

    source: str = "synthetic"
    """`synthetic` (built in), or a folder (`./synthetic` if so called)."""
    layout: Literal["digits", "manifest"] = "digits"
    """A folder of single words named `{digit}_{speaker}_{index}.wav`, which are joined to strings;
    or utterances that are listed in files."""
    sample_rate: int = Field(default=8_000, ge=4_000, le=48_000)
    """Samples a second; recordings at another rate are resampled."""
    test_speakers: tuple[str, ...] = Field(default=(), strict=False)  # JSON has lists alone
    """Of single words: who is in the test set alone, and makes it up."""
    synthetic: SyntheticSettings = SyntheticSettings()
    strings: StringSettings = StringSettings()
    manifest: ManifestFiles = ManifestFiles()
