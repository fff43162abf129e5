"""What the parts of a run take, from its structure and protocol alone: for foretelling seconds."""

from __future__ import annotations

from core.amplifier.settings import ModelSettings, TrainSettings
from core.task import Effort, Load

_PASSES = 3
"""An update is a forward pass and a backward one, which is twice as much."""
_OPTIMIZER_FLOPS = 40
"""By weight, bound by memory."""
_SCORED_SAMPLES, _SCORED_AT_ONCE = 7_680, 3
"""Of a validation set whose size is not known here, in segments side by side."""
_STEP_CALLS, _LAYER_CALLS, _OTHER_CALLS = 4, 16, 30
"""Operations of a forward pass: by sample of a recurrent layer, by layer of a Transformer, and
besides."""
_GATES = {"gru": 3, "lstm": 4}


def count_weights(model: ModelSettings) -> int:
    """The numbers that are learned."""
    if model.backbone == "transformer_encoder":
        width = model.d_model
        layer = 4 * width**2 + 4 * width + 2 * width * model.d_ff + model.d_ff + 5 * width
        return model.num_layers * layer + model.num_heads * model.window + 5 * width + 2
    hidden, gates = model.hidden_size, _GATES[model.backbone]
    features = 2 + (model.num_layers - 1) * hidden
    layers = gates * hidden * (features + model.num_layers * (hidden + 2))
    return layers + 2 * hidden + 2


def estimate_effort(model: ModelSettings, train: TrainSettings) -> Effort:
    """The parts of a run; reading the test set is taken to be an evaluation."""
    length, batch = train.frame_length, train.batch_size
    update = _forward(model, batch, length)
    update = Load(
        _PASSES * update.flops + _OPTIMIZER_FLOPS * count_weights(model), _PASSES * update.calls
    )
    scored = _forward(model, _SCORED_AT_ONCE, _SCORED_SAMPLES // _SCORED_AT_ONCE)
    return Effort({"train": update}, evaluation=scored, final=scored, test=scored)


def _forward(model: ModelSettings, batch: int, length: int) -> Load:
    by_sample = 2.0 * count_weights(model)
    calls = model.num_layers * _LAYER_CALLS
    if model.backbone == "transformer_encoder":
        by_sample += 4 * min(length, 256) * model.d_model * model.num_layers
    else:
        calls = model.num_layers * _STEP_CALLS * length
    return Load(batch * length * by_sample, float(calls + _OTHER_CALLS))
