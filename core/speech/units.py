"""The units of the text that the head is over: words, or characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

PAD_ID, BEGIN_ID, END_ID = 0, 1, 2
_SPECIALS = 3


class Units:
    """A table of units; ids of the specials come first."""

    def __init__(self, texts: Iterable[str], *, are_words: bool) -> None:
        """All that occur in `texts`."""
        self._are_words = are_words
        self._names = sorted({unit for text in texts for unit in self._split(text)})
        self._ids = {name: place for place, name in enumerate(self._names, start=_SPECIALS)}

    def __len__(self) -> int:
        """The specials included."""
        return _SPECIALS + len(self._names)

    def encode(self, text: str) -> list[int]:
        """Ids without specials; what is not in the table is left out."""
        return [self._ids[unit] for unit in self._split(text) if unit in self._ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids up to the first that is a special."""
        names: list[str] = []
        for one in ids:
            if one < _SPECIALS:
                break
            names.append(self._names[one - _SPECIALS])
        return (" " if self._are_words else "").join(names)

    def _split(self, text: str) -> list[str]:
        return text.split() if self._are_words else list(text)
