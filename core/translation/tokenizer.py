"""Byte-pair encoding shared by both languages, trained on the pretraining text only.

Below the merges lie the 256 bytes, so that any text can be written, also in characters never seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from filelock import FileLock
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from core.atomic import make_folder
from core.errors import SettingsError
from core.settings import digest_of
from core.translation.corpus import Corpora, PairSet
from core.translation.kept import read_kept, write_kept
from core.translation.settings import TranslationProtocol
from core.translation.special import BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID

_VERSION = 1
"""Of the recipe below; a change of it must not find what the old one left in the cache."""
_SMALLEST = 256 + len(SPECIAL_TOKENS)


class Tokenizer:
    """Text to token ids and back.

    `decode(encode(text))` is `text` in Unicode's normal form C, without the blanks around it. The
    text of a special token, such as `<eos>`, is text like any other.
    """

    bos_id = BOS_ID
    pad_id = PAD_ID
    eos_id = EOS_ID
    unk_id = UNK_ID

    def __init__(self, text: str) -> None:
        """From the JSON that `tokenizers` reads and writes."""
        self.text = text
        self._tokenizer = tokenizers.Tokenizer.from_str(text)
        # Not part of the JSON; without it, `<eos>` in a sentence would end it.
        self._tokenizer.encode_special_tokens = True

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Entries, the specials included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Token ids of each sentence, no specials among them."""
        encoded = self._tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each sequence, specials skipped. Bytes that are no UTF-8 become U+FFFD."""
        decoded = self._tokenizer.decode_batch(
            [list(row) for row in ids], skip_special_tokens=True
        )
        return [sentence.strip() for sentence in decoded]


def load_tokenizer(protocol: TranslationProtocol, corpora: Corpora, cache: Path) -> Tokenizer:
    """The tokenizer of the pretraining text: from the cache, or trained and put there.

    Of several processes one trains it and the others wait. A damaged file is trained anew.

    Raises: SettingsError if the vocabulary cannot hold the bytes and the specials.
    """
    if protocol.vocab_size < _SMALLEST:
        raise SettingsError(
            f"protocol.vocab_size must be at least {_SMALLEST}: 256 bytes and "
            f"{len(SPECIAL_TOKENS)} specials",
            got=protocol.vocab_size,
            way_out="Use 1000 or more for a small corpus.",
        )
    train = corpora.pretrain.train
    key = digest_of([_VERSION, protocol.vocab_size, train.src, train.tgt])
    path = cache / "tokenizers" / key / "tokenizer.json"
    text = read_kept(path)
    if text is None:
        make_folder(path.parent)
        with FileLock(path.parent / "lock", mode=0o600):
            text = read_kept(path)
            if text is None:
                text = train_tokenizer(train, protocol.vocab_size)
                write_kept(path, text)
    return Tokenizer(text)


def train_tokenizer(pairs: PairSet, vocab_size: int) -> str:
    """JSON of a tokenizer trained on both sides of the pairs."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])
    # A blank before the first word too: a word is the same entry wherever it stands.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*pairs.src, *pairs.tgt], trainer=trainer)
    return str(tokenizer.to_str())
