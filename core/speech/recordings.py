"""What is heard and what was said: recordings of single words, or whole utterances.

Single words, built in or in files named `{digit}_{speaker}_{index}.wav`, are joined to strings
with pauses: fixed ones for validation and test, ever new ones to train on. All words of a string
are one speaker's.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from core.errors import DataError
from core.settings import canonical_json, derive_seed
from core.speech.audio import Wave, read_wave
from core.speech.settings import SpeechData, SpeechProtocol, StringSettings
from core.speech.synthesizer import WORDS, say
from core.task import Facts

SYNTHETIC = "synthetic"
_NAME = re.compile(r"(\d)_([^_/]+)_(\d+)\.wav", re.IGNORECASE)
_HELD_OUT = 5
"""Recordings of each word by each speaker for the test set, those of the lowest index, and as many
after them for validation: the official split of the Free Spoken Digit Dataset."""
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Utterance:
    """A recording and its text."""

    wave: Wave
    text: str
    """Words with a space between them."""


@dataclass(frozen=True)
class _Word:
    """A recording of a single word."""

    wave: Wave
    word: str
    speaker: str
    index: int


@dataclass(frozen=True)
class Recordings:
    """All that a run hears."""

    validation: Sequence[Utterance]
    test: Sequence[Utterance]
    digest: str
    training_texts: frozenset[str]
    """What the units of the text are taken from."""
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    whole: Sequence[Utterance] = ()
    """Training utterances as they are, or, where there are none, ..."""
    words: Mapping[str, Sequence[_Word]] = field(default_factory=dict)
    """... single words by speaker, to be joined."""
    join: Joiner | None = None

    def draw(self, seed: int, count: int) -> list[Utterance]:
        """Training utterances, a pure function of the seed."""
        rng = np.random.default_rng(seed)
        if self.join is None:
            return [self.whole[i] for i in rng.integers(len(self.whole), size=count)]
        return [self.join(self.words, rng) for _ in range(count)]


@dataclass(frozen=True)
class Joiner:
    """Joins single words to strings."""

    settings: StringSettings
    rate: int
    max_audio_s: float

    def __call__(
        self, words: Mapping[str, Sequence[_Word]], rng: np.random.Generator
    ) -> Utterance:
        """A string of one speaker, of as many of the words drawn for it as fit."""
        own = words[list(words)[rng.integers(len(words))]]
        wanted = rng.integers(self.settings.min_words, self.settings.max_words + 1)
        parts: list[Wave] = [self._pause(rng)]
        said: list[str] = []
        room = int(self.max_audio_s * self.rate) - len(parts[0])
        for place in rng.integers(len(own), size=wanted):
            piece = np.concatenate([own[place].wave, self._pause(rng)])
            if said and len(piece) > room:
                break
            parts.append(piece[:room])
            said.append(own[place].word)
            room -= len(piece)
        return Utterance(np.concatenate(parts), " ".join(said))

    def _pause(self, rng: np.random.Generator) -> Wave:
        """Near silence, since a true one is in no recording."""
        count = int(rng.uniform(self.settings.min_pause_s, self.settings.max_pause_s) * self.rate)
        return (1e-3 * rng.standard_normal(count)).astype(np.float32)


def load_recordings(protocol: SpeechProtocol, data: SpeechData) -> Recordings:
    """Reads or makes all recordings.

    Raises: DataError, which names the file, for a recording that cannot be used or is too long,
        and for a set that is missing or empty.
    """
    if data.source == SYNTHETIC:
        return _from_words(protocol, data, _synthetic(data), held_out=1)
    root = Path(data.source)
    if not root.is_dir():
        raise DataError("there is no such folder", where=str(root))
    if data.layout == "manifest":
        return _from_manifests(protocol, data, root)
    return _from_words(protocol, data, _read_words(root, data.sample_rate), held_out=_HELD_OUT)


def prepare(protocol: SpeechProtocol, data: SpeechData) -> Facts:
    """What the recordings are, for `TaskSpec.prepare`. Raises as `load_recordings`."""
    found = load_recordings(protocol, data)
    return Facts({"data": found.digest}, dict(found.counts), found.notes)


def files_of(data: SpeechData) -> tuple[Path, tuple[Path, ...]]:
    """The data folder and all that a run reads in it."""
    if data.source == SYNTHETIC:
        return Path(), ()
    root = Path(data.source)
    if data.layout == "digits":
        return root, tuple(path for path in root.iterdir() if _NAME.fullmatch(path.name))
    names = [getattr(data.manifest, split) for split in _SPLITS]
    manifests = [root / name for name in names if name is not None]
    listed = [path for one in manifests for path, _ in _read_manifest(one, root)]
    return root, (*manifests, *listed)


# Single words


def _synthetic(data: SpeechData) -> list[_Word]:
    settings = data.synthetic
    speak = partial(say, seed=settings.seed, rate=data.sample_rate)
    return [
        _Word(speak(word, speaker=speaker, take=take), word, f"speaker {speaker}", take)
        for speaker in range(settings.speakers)
        for word in WORDS
        for take in range(settings.takes)
    ]


def _read_words(root: Path, rate: int) -> list[_Word]:
    found = []
    for path in sorted(root.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            digit, speaker, index = match.groups()
            wave = read_wave(path, rate)
            found.append(_Word(wave, WORDS[int(digit)], speaker, int(index)))
    if not found:
        raise DataError(
            "no recording has a name of this kind",
            where=str(root),
            allowed="{digit}_{speaker}_{index}.wav",
            way_out='Utterances that are listed in a file want data.layout = "manifest".',
        )
    return found


def _from_words(
    protocol: SpeechProtocol, data: SpeechData, words: Sequence[_Word], *, held_out: int
) -> Recordings:
    speakers = {word.speaker for word in words}
    unknown = sorted(set(data.test_speakers) - speakers)
    if unknown:
        raise DataError(
            "no recording is by this speaker",
            where="data.test_speakers",
            got=unknown[0],
            allowed=", ".join(sorted(speakers)),
        )
    sets: dict[str, dict[str, list[_Word]]] = {split: {} for split in _SPLITS}
    for word in words:
        split = _split_of(word, data.test_speakers, held_out)
        if split is not None:
            sets[split].setdefault(word.speaker, []).append(word)
    for split, by_speaker in sets.items():
        if not by_speaker:
            raise DataError(
                f"no recording is left for the {split} set",
                where=data.source,
                way_out="Indices from 0 are for the test set, the next for validation, the rest "
                "to train on; data.test_speakers for the test set alone.",
            )
    join = Joiner(data.strings, data.sample_rate, protocol.max_audio_s)
    counts = {"validation": protocol.validation_utterances, "test": protocol.test_utterances}
    fixed = {}
    for split, count in counts.items():
        rng = np.random.default_rng(derive_seed(data.strings.seed, split))
        fixed[split] = [join(sets[split], rng) for _ in range(count)]
    listed = Counter(
        {split: sum(map(len, by_speaker.values())) for split, by_speaker in sets.items()}
    )
    return Recordings(
        validation=fixed["validation"],
        test=fixed["test"],
        digest=_digest(
            [(f"{word.speaker} {word.index} {word.word}", word.wave) for word in words],
            data,
        ),
        training_texts=frozenset(w.word for own in sets["train"].values() for w in own),
        counts={f"{split} words": listed[split] for split in _SPLITS},
        words=sets["train"],
        join=join,
    )


def _split_of(word: _Word, test_speakers: Sequence[str], held_out: int) -> str | None:
    """`None` for test recordings where there are test speakers, who are others."""
    if test_speakers:
        if word.speaker in test_speakers:
            return "test"
        return None if word.index < held_out else _later(word.index, held_out)
    return "test" if word.index < held_out else _later(word.index, held_out)


def _later(index: int, held_out: int) -> str:
    return "validation" if index < 2 * held_out else "train"


# Whole utterances


def _from_manifests(protocol: SpeechProtocol, data: SpeechData, root: Path) -> Recordings:
    sets: dict[str, list[Utterance]] = {split: [] for split in _SPLITS}
    told: list[tuple[str, Wave]] = []
    most = {"validation": protocol.validation_utterances, "test": protocol.test_utterances}
    for split in _SPLITS:
        name = getattr(data.manifest, split)
        if name is None:
            continue
        for path, text in _read_manifest(root / name, root)[: most.get(split)]:
            wave = read_wave(path, data.sample_rate)
            seconds = len(wave) / data.sample_rate
            if seconds > protocol.max_audio_s:
                raise DataError(
                    "this recording is too long",
                    where=str(path),
                    got=f"{seconds:.1f} s",
                    allowed=f"up to protocol.max_audio_s, {protocol.max_audio_s:g} s",
                )
            sets[split].append(Utterance(wave, text))
            told.append((f"{split} {text}", wave))
    texts = {split: [one.text for one in own] for split, own in sets.items()}
    new = {word for text in texts["validation"] for word in text.split()}
    new -= {word for text in texts["train"] for word in text.split()}
    notes = (f"{len(new)} words of the validation set are in no training text",) if new else ()
    return Recordings(
        validation=sets["validation"],
        test=sets["test"],
        digest=_digest(told, data),
        training_texts=frozenset(texts["train"]),
        counts={f"{split} utterances": len(own) for split, own in sets.items()},
        notes=notes,
        whole=sets["train"],
    )


def _read_manifest(path: Path, root: Path) -> list[tuple[Path, str]]:
    """(recording, text) of each line. Raises: DataError, with the line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("this is no UTF-8", where=str(path)) from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, tab, text = line.rstrip("\r").partition("\t")
        words = " ".join(text.split())
        if not tab or not name.strip() or not words:
            raise DataError(
                "this line is no recording with its text",
                where=f"{path}, line {number}",
                got=line[:60],
                allowed="path<TAB>text",
            )
        found.append((root / name.strip(), words))
    if not found:
        raise DataError("this list is empty", where=str(path), allowed="path<TAB>text a line")
    return found


def _digest(told: Sequence[tuple[str, Wave]], data: SpeechData) -> str:
    """Of what is said and heard, and of how it is split and joined; not of where it lies."""
    sha256 = hashlib.sha256()
    kept = {"layout", "sample_rate", "test_speakers", "strings"}
    sha256.update(canonical_json(data.model_dump(mode="json", include=kept)).encode())
    for text, wave in told:
        sha256.update(f"{text}\0{len(wave)}\0".encode())
        sha256.update(wave.tobytes())
    return sha256.hexdigest()
