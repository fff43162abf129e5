"""The weights that every decoder decodes with: the project's, a little trained on Multi30k."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.setting import DECODED, captions_config, model_settings
from core.checkpoint import load_weights
from core.run import run
from core.settings import RECIPE_VERSION, RunConfig
from core.task import Evaluation, Placement, Progress, Verdict
from core.translation.model import Transformer
from core.translation.special import PAD_ID
from core.translation.tokenizer import Tokenizer


def _configure(data: Path, cache: Path, d_model: int, steps: int) -> tuple[RunConfig, Path]:
    """The run that makes the weights, and its folder."""
    config = captions_config(data, cache, d_model, steps, seed=1, scored=DECODED)
    return config, cache / "weights" / f"{config.digest()}-recipe{RECIPE_VERSION}"


def train_weights(data: Path, cache: Path, d_model: int, steps: int, threads: int) -> None:
    """Trains the weights unless the cache has them."""
    config, folder = _configure(data, cache, d_model, steps)
    outcome = run(config, Placement("cpu", threads), folder, cache, _go_on)
    print(f"weights of {steps} updates: validation BLEU {outcome.value:.2f}", flush=True)


def read_model(
    data: Path, cache: Path, tokenizer: Tokenizer, d_model: int, steps: int
) -> Transformer:
    """The model with the weights of `train_weights`, in evaluation."""
    config, folder = _configure(data, cache, d_model, steps)
    model = Transformer(model_settings(d_model), tokenizer.vocab_size, PAD_ID)
    load_weights(folder / "weights", model, config_digest=config.digest())
    return model.eval()


def _go_on(event: Progress | Evaluation) -> Verdict:
    del event
    return Verdict.CONTINUE
