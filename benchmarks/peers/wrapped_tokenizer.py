"""The project's tokenizer as `transformers` wants one."""

from __future__ import annotations

import tokenizers
from transformers import PreTrainedTokenizerFast

from core.translation.special import BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID
from core.translation.tokenizer import Tokenizer


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The same entries and ids; it pads, and decodes as the project does."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(tokenizer.text),
        bos_token=SPECIAL_TOKENS[BOS_ID],
        pad_token=SPECIAL_TOKENS[PAD_ID],
        eos_token=SPECIAL_TOKENS[EOS_ID],
        unk_token=SPECIAL_TOKENS[UNK_ID],
    )
