"""The laws of the model: what sees what, padding, caches, and how it starts."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from core.speech.decoding import greedy
from core.speech.features import LogMel, mel_filters
from core.speech.model import SpeechModel, sequence_mask
from core.speech.settings import ModelSettings
from core.speech.units import BEGIN_ID, END_ID, PAD_ID, Units
from core.speech.wer import signature, word_errors

AUDIO, TEXT, SIZE, UNITS = 11, 5, 7, 13
Norm = Literal["pre", "post"]


def lively_model(norm: Norm = "pre", layers: int = 3) -> SpeechModel:
    """One in evaluation whose units depend on what it hears: larger weights make it mix."""
    torch.manual_seed(5)
    settings = ModelSettings(d_model=24, num_heads=3, num_layers=layers, d_ff=41, norm=norm)
    model = SpeechModel(settings, audio_size=SIZE, max_audio=17, max_text=9, num_units=UNITS)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3)
    return model.eval()


def heard(batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    audio = torch.randn(batch, AUDIO, SIZE, generator=generator)
    counts = torch.tensor([AUDIO, 3, 7, 1])[:batch]
    audio[torch.arange(AUDIO) >= counts[:, None]] = 0
    return audio, counts


def read(batch: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(3, UNITS, (batch, TEXT), generator=generator)


def test_audio_is_open_and_text_is_causal() -> None:
    mask = sequence_mask(torch.tensor([2, 3]), audio=3, text=2)
    assert mask.shape == (2, 1, 5, 5)
    first = [[1, 1, 0, 0, 0]] * 3 + [[1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    second = [[1, 1, 1, 0, 0]] * 3 + [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert mask[:, 0].int().tolist() == [first, second]


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_nothing_leaks_from_later_text(norm: Norm) -> None:
    model, (audio, counts), text = lively_model(norm), heard(), read()
    before = model(audio, counts, text)
    text[:, 3] = (text[:, 3] - 2) % (UNITS - 3) + 3
    after = model(audio, counts, text)
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=0)
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_behind_the_audio_changes_nothing(norm: Norm) -> None:
    model, (audio, counts), text = lively_model(norm), heard(), read()
    together = model(audio, counts, text)
    for row, count in enumerate(counts.tolist()):
        alone = model(audio[row : row + 1, :count], counts[row : row + 1], text[row : row + 1])
        # Sums of another length are rounded otherwise.
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_steps_with_caches_equal_the_whole(norm: Norm) -> None:
    model, (audio, counts), text = lively_model(norm), heard(), read()
    with torch.no_grad():
        whole = model(audio, counts, text)
        state = model.start(audio, counts, TEXT)
        steps = [model.step(text[:, place], state) for place in range(TEXT)]
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_greedy_decoding_equals_that_without_caches(norm: Norm) -> None:
    model, (audio, counts) = lively_model(norm), heard()
    with torch.no_grad():
        found = greedy(model, audio, counts, max_units=8)
        expected = []
        for row in range(len(audio)):
            ids = [BEGIN_ID]
            while len(ids) <= 8:
                own = slice(row, row + 1)
                states = model(audio[own], counts[own], torch.tensor([ids]))
                scores = model.head(states[0, -1])
                scores[[PAD_ID, BEGIN_ID]] = -torch.inf
                ids.append(int(scores.argmax()))
                if ids[-1] == END_ID:
                    break
            expected.append([one for one in ids[1:] if one != END_ID])
    assert found == expected
    assert len({tuple(row) for row in found}) > 1  # it does listen


def test_it_starts_as_it_says() -> None:
    torch.manual_seed(1)
    settings = ModelSettings(d_model=96, num_heads=4, num_layers=1, d_ff=64)
    model = SpeechModel(settings, audio_size=160, max_audio=211, max_text=97, num_units=101)
    drawn = (model.head, model.text_proj, model.audio_positions, model.text_positions)
    for module in drawn:
        # The standard error of a deviation is itself over sqrt(2 N); N is 9,000 at least.
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.04)
        assert abs(module.weight.mean().item()) < 0.002
    bound = (6 / (160 + 96)) ** 0.5  # Xavier's, uniform
    assert model.audio_proj.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert model.audio_proj.bias.abs().max() == 0
    assert isinstance(model.norm, torch.nn.LayerNorm)
    assert isinstance(lively_model("post").norm, torch.nn.Identity)


# What it hears, says and is judged by


def test_frames_of_an_utterance_do_not_depend_on_what_it_is_padded_to() -> None:
    log_mel = LogMel(8_000, bands=20, frames_per_position=3)
    waves = 0.1 * torch.randn(3, 4_001, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([4_001, 1_207, 101])
    waves[torch.arange(4_001) >= lengths[:, None]] = 0
    positions, counts = log_mel(waves, lengths)
    # (4001 - 256) // 80 + 1 = 47 frames, (1207 - 256) // 80 + 1 = 12, and one at least.
    assert counts.tolist() == [16, 4, 1]
    assert positions.shape == (3, 16, 60)
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        alone, _ = log_mel(waves[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], positions[row, :count], rtol=1e-4, atol=1e-4)
        assert not positions[row, count:].any()
    assert log_mel.positions(4_001) == 16


def test_frames_do_not_depend_on_how_loud_it_is() -> None:
    log_mel = LogMel(8_000, bands=20, frames_per_position=3)
    wave = torch.randn(1, 4_001, generator=torch.Generator().manual_seed(1))
    one, _ = log_mel(wave, torch.tensor([4_001]))
    other, _ = log_mel(0.2 * wave, torch.tensor([4_001]))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_tone_is_loudest_in_its_band() -> None:
    filters = mel_filters(8_000, 256, 20)
    assert filters.shape == (129, 20) and filters.min() >= 0
    assert filters.max(0).values.min() > 0.3  # no band is empty
    # 1,000 Hz, by O'Shaughnessy's formula 1,000 mel of 2,146, from 60 Hz (92 mel) on 21 steps.
    assert filters[32].argmax().item() == round((1000 - 92) / (2146 - 92) * 21) - 1


def test_units_are_words_or_characters() -> None:
    words = Units({"two one", "one"}, are_words=True)
    assert len(words) == 5 and words.encode("one three two") == [3, 4]
    assert words.decode([4, 3, END_ID, 3]) == "two one"
    letters = Units({"ab", "b a"}, are_words=False)
    assert letters.decode(letters.encode("ba ab")) == "ba ab"


def test_the_error_rate_is_jiwers_over_all_words() -> None:
    errors = word_errors(["one two three", "four"], ["one three", "five six"])
    # Of four words one is left out, one substituted; one is put in.
    assert errors == pytest.approx((75.0, 25.0, 25.0, 25.0))
    assert word_errors(["one two"], [""]).rate == 100
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        word_errors(["one", "two"], ["one"])
    assert signature().startswith("WER|jiwer:")
