"""What a run hears: the built-in words, folders of digits, manifests, and what is kept apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from core.errors import DataError
from core.speech.recordings import Recordings, files_of, load_recordings, prepare
from core.speech.settings import SpeechData, SpeechProtocol
from core.speech.synthesizer import WORDS, say

PROTOCOL = SpeechProtocol(validation_utterances=11, test_utterances=13, max_audio_s=3.0)
SMALL: dict[str, Any] = {"synthetic": {"speakers": 2, "takes": 3}}


@pytest.fixture(autouse=True, scope="module")
def _said_once() -> Iterator[None]:
    """A word takes some milliseconds to make, and is the same every time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.speech.recordings.say", lru_cache(say))
        yield


def load(protocol: SpeechProtocol = PROTOCOL, **data: Any) -> Recordings:
    return load_recordings(protocol, SpeechData(**{**SMALL, **data}))


def write_word(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, 801).astype(np.float32)
    wavfile.write(path, 8_000, noise)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Two digits by three speakers, twelve times each."""
    folder = tmp_path / "digits"
    folder.mkdir()
    spoken = itertools.product((3, 7), ("ann", "bo", "cy"), range(12))
    for seed, (digit, speaker, index) in enumerate(spoken):
        write_word(folder / f"{digit}_{speaker}_{index}.wav", seed)
    (folder / "README.md").write_text("not a recording")
    return folder


def test_the_words_differ_by_word_speaker_and_take_and_by_nothing_else() -> None:
    said = [
        say(word, speaker=speaker, take=take, seed=1, rate=8_000).tobytes()
        for word in WORDS
        for speaker in range(2)
        for take in range(2)
    ]
    assert len(WORDS) == 10 and len(set(said)) == 40
    assert say("six", speaker=1, take=0, seed=1, rate=8_000).tobytes() in said
    loud = np.abs(say("six", speaker=1, take=0, seed=1, rate=16_000)).max()
    assert 0.2 < loud < 1


def test_built_in_strings_have_one_to_seven_words() -> None:
    found = load(PROTOCOL.model_copy(update={"max_audio_s": 9.0}))
    assert (len(found.validation), len(found.test)) == (11, 13)
    drawn = found.draw(3, 50)
    counts = {len(one.text.split()) for one in drawn}
    assert counts == set(range(1, 8))
    assert {word for one in drawn for word in one.text.split()} == set(WORDS)
    assert all(0.2 < len(one.wave) / 8_000 < 6 for one in drawn)
    assert found.counts == {"train words": 20, "validation words": 20, "test words": 20}


def test_drawing_is_a_function_of_the_seed() -> None:
    one, again, other = load().draw(3, 4), load().draw(3, 4), load().draw(4, 4)
    assert [u.text for u in one] == [u.text for u in again] != [u.text for u in other]
    assert all(np.array_equal(a.wave, b.wave) for a, b in zip(one, again, strict=True))


def test_a_string_ends_before_it_is_too_long() -> None:
    short = load(PROTOCOL.model_copy(update={"max_audio_s": 1.0}))
    assert all(len(one.wave) <= 8_000 and one.text for one in short.draw(1, 30))


def test_digits_are_split_by_index_as_the_official_set_is(digits: Path) -> None:
    found = load(source=str(digits))
    assert found.counts == {"train words": 12, "validation words": 30, "test words": 30}
    assert {one.index for own in found.words.values() for one in own} == {10, 11}
    assert {word for one in found.draw(1, 9) for word in one.text.split()} == {"three", "seven"}


def test_speakers_of_the_test_set_are_kept_apart_on_request(digits: Path) -> None:
    found = load(source=str(digits), test_speakers=["bo"])
    assert found.words.keys() == {"ann", "cy"}
    assert found.counts == {"train words": 8, "validation words": 20, "test words": 24}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write_word(folder / "7_ann_11.wav", 99),
        lambda folder: (folder / "7_ann_11.wav").unlink(),
        lambda folder: (folder / "7_ann_11.wav").rename(folder / "3_ann_12.wav"),
    ],
)
def test_other_recordings_have_another_digest(change: Callable[[Path], Any], digits: Path) -> None:
    data = SpeechData(source=str(digits))
    before = prepare(PROTOCOL, data).digests
    moved = digits.rename(digits.with_name("moved"))
    assert prepare(PROTOCOL, SpeechData(source=str(moved))).digests == before
    change(moved)
    assert prepare(PROTOCOL, SpeechData(source=str(moved))).digests != before


def test_how_strings_are_made_is_in_the_digest() -> None:
    digests = [load(**change).digest for change in ({}, {"strings": {"max_words": 3}})]
    assert len(set(digests)) == 2


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        lines = []
        for place in range(count):
            name = f"clips/{split}{place}.wav"
            write_word(tmp_path / name, place)
            lines.append(f"{name}\tword {split}  number\n")
        (tmp_path / f"{split}.tsv").write_text("".join(lines) + "\n")
    return tmp_path


def test_a_manifest_is_read_as_it_is(manifest: Path) -> None:
    found = load(source=str(manifest), layout="manifest")
    assert [one.text for one in found.validation] == ["word val number"] * 2
    assert {one.text for one in found.draw(1, 9)} == {"word train number"}
    assert found.counts["train utterances"] == 3
    assert found.notes == ("1 words of the validation set are in no training text",)
    root, files = files_of(SpeechData(source=str(manifest), layout="manifest"))
    assert root == manifest
    assert {path.name for path in files} == {
        "train.tsv", "val.tsv", "test.tsv", "train0.wav", "train1.wav", "train2.wav", "val0.wav",
        "val1.wav", "test0.wav",
    }  # fmt: skip


def spoil(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil("val.tsv", "clips/val0.wav one two\n"), r"val.tsv, line 1: this line is no record"),
        (spoil("val.tsv", "\n\nclips/val0.wav\t \n"), r"val.tsv, line 3.*Allowed: path<TAB>text"),
        (spoil("train.tsv", "\n"), r"train.tsv: this list is empty"),
        (spoil("train.tsv", "gone.wav\tone\n"), r"gone.wav: cannot be read: No such file"),
        (lambda folder: (folder / "test.tsv").unlink(), r"test.tsv: cannot be read"),
        (lambda folder: (folder / "val.tsv").write_bytes(b"\xff\t\xfe"), r"val.tsv: .*no UTF-8"),
    ],
)
def test_a_bad_manifest_is_said_in_one_line(
    change: Callable[[Path], None], said: str, manifest: Path
) -> None:
    change(manifest)
    with pytest.raises(DataError, match=said):
        load(source=str(manifest), layout="manifest")


def test_too_long_a_recording_is_named(manifest: Path) -> None:
    short = PROTOCOL.model_copy(update={"max_audio_s": 0.1})
    with pytest.raises(DataError, match=r"train0.wav: this recording is too long, got '0.1 s'"):
        load(short, source=str(manifest), layout="manifest")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "gone"}, "gone: there is no such folder"),
        ({"test_speakers": ["dan"]}, "got 'dan'. Allowed: speaker 0, speaker 1"),
        ({"test_speakers": ["speaker 0", "speaker 1"]}, "no recording is left for the train set"),
    ],
)
def test_what_leaves_nothing_to_hear_is_refused(data: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(**data)


def test_a_folder_without_digits_says_how_they_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Allowed: \{digit\}_\{speaker\}_\{index\}.wav.*manifest"):
        load(source=str(tmp_path))


def test_the_free_spoken_digits_are_split_as_they_say(hpo_data: Path) -> None:
    found = load(source=str(hpo_data / "fsdd" / "recordings"))
    assert found.counts == {"train words": 2000, "validation words": 250, "test words": 250}
    assert len(found.words) == 5
