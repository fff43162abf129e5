"""A trained model and its tokenizer as a folder that CTranslate2 loads, by its own converter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import MissingPackageError
from core.translation.model import Transformer
from core.translation.pretrained import complete_tokenizer, pretrained_tokenizer
from core.translation.settings import TranslationProtocol
from core.translation.special import PAD_ID
from core.translation.tokenizer import Tokenizer
from core.translation.twin import twin

if TYPE_CHECKING:
    from ctranslate2.specs import TransformerSpec

_USAGE = """\
```python
import ctranslate2
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("FOLDER/tokenizer.json")
tokenizer.encode_special_tokens = True
translator = ctranslate2.Translator("FOLDER")
sources = [tokenizer.encode(text).tokens for text in ["TEXT"]]
for found in translator.translate_batch(sources, {settings}):
    print(tokenizer.decode([tokenizer.token_to_id(token) for token in found.hypotheses[0]]))
```

These are the beams, the length penalty and the longest target that the test set is decoded with;
`beam_size=1` is greedy. The tokenizer ends and cuts sources as in training.
"""


def write_converted(
    model: Transformer, tokenizer: Tokenizer, protocol: TranslationProtocol, folder: Path
) -> str:
    """Writes model and tokenizer into `folder`; returns how to load them, Markdown.

    Weights are written as they were trained, in fp32.

    Raises: MissingPackageError without `ctranslate2` or `transformers`, whose model it converts.
    """
    for package in ("transformers", "ctranslate2"):
        try:
            __import__(package)
        except ImportError:
            raise MissingPackageError(package, "export") from None
    spec = _spec_of(model, tokenizer, protocol)
    spec.validate()
    spec.save(str(folder))
    complete = complete_tokenizer(tokenizer)
    complete.enable_truncation(protocol.max_len)
    complete.save(str(folder / "tokenizer.json"))
    settings = (
        f"beam_size={protocol.beam_size}, length_penalty={protocol.length_penalty}, "
        f"max_decoding_length={protocol.max_len}"
    )
    return _USAGE.replace("{settings}", settings)


def _spec_of(
    model: Transformer, tokenizer: Tokenizer, protocol: TranslationProtocol
) -> TransformerSpec:
    """What CTranslate2's converter makes of the model's twin."""
    from ctranslate2.converters.transformers import BartLoader, M2M100Loader

    theirs = twin(model)
    loader = M2M100Loader()
    if model.settings.norm == "post":
        # The converter knows no FSMT, but the family to which it belongs, by other names.
        loader = BartLoader()
        theirs.config.normalize_before = theirs.config.normalize_embedding = False
        theirs.lm_head = theirs.model.decoder.output_projection
        for stack in (theirs.model.encoder, theirs.model.decoder):
            stack.embed_positions.offset = PAD_ID + 1
    spec: TransformerSpec = loader(theirs, pretrained_tokenizer(tokenizer, protocol.max_len))
    return spec
