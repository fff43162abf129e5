"""The special entries that open every vocabulary, in their order."""

from __future__ import annotations

BOS_ID = 0
"""Starts the decoder."""
PAD_ID = 1
EOS_ID = 2
"""Ends every source and every target."""
UNK_ID = 3

SPECIAL_TOKENS = ("<bos>", "<pad>", "<eos>", "<unk>")
"""Their texts, by id."""
