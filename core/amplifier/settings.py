"""What an amplifier run may vary, and the protocol and data that all its trials share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.plateau import PlateauRecipe
from core.settings import SchedulerType, Settings

_AUTO_CLIP = {"transformer_encoder": 1.0, "gru": 200.0, "lstm": 200.0}


class ModelSettings(Settings):
    """Structure of the model. Settings of the backbones that were not chosen do nothing."""

    backbone: Literal["gru", "lstm", "transformer_encoder"] = "gru"
    """What reads the samples: a recurrent net, or a pre-norm Transformer encoder whose attention
    looks back."""
    num_layers: int = Field(default=1, ge=1, le=16)
    """Layers, of any backbone."""
    hidden_size: int = Field(default=11, ge=1, le=1024)
    """Units of a recurrent layer; 11 in one GRU layer make 519 weights."""
    d_model: int = Field(default=12, ge=2, le=1024)
    """Width of a Transformer."""
    num_heads: int = Field(default=4, ge=1, le=64)
    """Attention heads; must divide d_model."""
    d_ff: int = Field(default=24, ge=2, le=4096)
    """Width of a Transformer's feed-forward layer."""
    window: int = Field(default=16, ge=1, le=4096)
    """Samples that attention looks at, the present one and those before it; as many as
    train.frame_length is causal attention over the whole frame."""
    dropout: float = Field(default=0.0, ge=0, le=0.9)
    """Probability of dropping a unit of a Transformer."""


class TrainSettings(PlateauRecipe):
    """Frames, optimizer and schedule of the one stage."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Peak learning rate; the schedule gives factors of it."""
    lr_scheduler_type: Literal[SchedulerType, "reduce_on_plateau"] = "reduce_on_plateau"
    """Decay after the warmup; `reduce_on_plateau` keeps the rate while scores improve."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1e-2)
    grad_clip: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Largest global L2 norm of the gradient; `auto` is 1 for a Transformer, 200 for recurrent
    nets."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Frames per optimizer update."""
    frame_length: int = Field(default=50, ge=2, le=65_536)
    """Samples in a frame; every frame begins without a past."""
    frame_stride: int = Field(default=1, ge=1, le=65_536)
    """Samples between the beginnings of two frames."""

    def resolve_clip(self, backbone: str) -> float:
        """The largest gradient norm for a backbone."""
        return _AUTO_CLIP[backbone] if self.grad_clip == "auto" else self.grad_clip


class AmplifierProtocol(Settings):
    """What every trial of a study shares besides its data."""

    train_steps: int = Field(default=3_600, ge=1)
    """Updates of the one stage."""
    eval_every: int = Field(default=360, ge=1)
    """Updates between evaluations; divides train_steps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Rounding to the 8 bits of bf16 is an error of -50 dB at every product: small models of
    amplifiers are told apart by less."""


class OfdmSettings(Settings):
    """Sizes of the built-in signal, in samples, and its amplifier's noise."""

    seed: int = 1
    train_samples: int = Field(default=8_192, ge=64, le=10_000_000)
    validation_samples: int = Field(default=2_048, ge=64, le=10_000_000)
    test_samples: int = Field(default=2_048, ge=64, le=10_000_000)
    segment: int = Field(default=512, ge=64, le=65_536)
    """Samples of an OFDM symbol, which is also the length that is scored at once."""
    snr_db: float = Field(default=45.0, ge=0, le=200)
    """Power of the amplifier's output over that of its noise."""


class AmplifierData(Settings):
    """Which recording, and where from."""

    source: str = "ofdm"
    """`ofdm` (built in), or a folder in OpenDPD's format (`./ofdm` if so called)."""
    ofdm: OfdmSettings = OfdmSettings()
