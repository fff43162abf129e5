"""A trained model and its tokenizer as a folder that `transformers` loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import Regex, decoders, processors

from core.errors import MissingPackageError
from core.translation.model import Transformer
from core.translation.settings import TranslationProtocol
from core.translation.special import BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID
from core.translation.tokenizer import Tokenizer
from core.translation.twin import twin

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerFast

_USAGE = """\
```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForSeq2SeqLM.from_pretrained("FOLDER")
texts = ["TEXT"]
batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
print(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))
```

`generate` searches with the beams, the length penalty and the longest target that the test set is
decoded with; `num_beams=1` is greedy. The tokenizer ends and cuts sources as in training.
"""


def write_pretrained(
    model: Transformer, tokenizer: Tokenizer, protocol: TranslationProtocol, folder: Path
) -> str:
    """Writes model, tokenizer and how to decode into `folder`; returns how to load them, Markdown.

    Weights are written as they were trained, in fp32.

    Raises: MissingPackageError without `transformers`.
    """
    try:
        from transformers import logging
    except ImportError:
        raise MissingPackageError("transformers", "export") from None
    logging.disable_progress_bar()
    theirs = twin(model)
    theirs.generation_config = generation_config(protocol)
    theirs.save_pretrained(folder)
    pretrained_tokenizer(tokenizer, protocol.max_len).save_pretrained(folder)
    return _USAGE


def pretrained_tokenizer(tokenizer: Tokenizer, max_len: int) -> PreTrainedTokenizerFast:
    """The same entries and ids; it adds `<eos>`, pads, and decodes to the text that ours gives.

    With `truncation=True` a source has `max_len` tokens at most, `<eos>` included.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=complete_tokenizer(tokenizer),
        bos_token=SPECIAL_TOKENS[BOS_ID],
        pad_token=SPECIAL_TOKENS[PAD_ID],
        eos_token=SPECIAL_TOKENS[EOS_ID],
        unk_token=SPECIAL_TOKENS[UNK_ID],
        model_max_length=max_len,
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,  # the text of a special token is text like any other
        model_input_names=["input_ids", "attention_mask"],
    )


def complete_tokenizer(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """Ours, with what our code does around it: `<eos>` at the end, no blanks around a text."""
    complete = tokenizers.Tokenizer.from_str(tokenizer.text)
    eos = SPECIAL_TOKENS[EOS_ID]
    complete.post_processor = processors.TemplateProcessing(
        single=f"$A {eos}", pair=f"$A $B {eos}", special_tokens=[(eos, EOS_ID)]
    )
    around = decoders.Replace(Regex(r"^\s+|\s+$"), "")
    complete.decoder = decoders.Sequence([decoders.ByteLevel(), around])
    return complete


def generation_config(protocol: TranslationProtocol) -> GenerationConfig:
    """Decoding as the test set is decoded."""
    from transformers import GenerationConfig

    return GenerationConfig(
        num_beams=protocol.beam_size,
        length_penalty=protocol.length_penalty,
        early_stopping=False,
        do_sample=False,
        max_length=protocol.max_len + 1,  # `<bos>` counts here
        decoder_start_token_id=BOS_ID,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
    )
