"""Noun phrases and pronouns, each in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.translation.pocket import english, german
from core.translation.pocket.lexicon import Adjective, Noun

Pair = tuple[str, str]
"""German and English."""

_ENGLISH_DETERMINERS = {
    "der": ("the", "the"),
    "ein": ("a", ""),
    "dies": ("this", "these"),
    "jed": ("every", ""),
    "kein": ("no", "no"),
    "mein": ("my", "my"),
    "unser": ("our", "our"),
    "sein": ("his", "his"),
    "her": ("her", "her"),
    "their": ("their", "their"),
    "mehrer": ("", "several"),
    "einig": ("", "some"),
    "viel": ("", "many"),
    "all": ("", "all"),
}
_POSSESSED_LIKE_EIN = {"her": "ihr", "their": "ihr"}
"""Their German word is one; which of the two is meant depends on the owner."""
_LIKE_DER = {"dies", "jed", "all"}
_LIKE_EIN = {"ein", "kein", "mein", "unser", "sein", "her", "their"}
_STRONG = {"mehrer", "einig", "viel"}


class Nominal(Protocol):
    """What can be a subject or an object."""

    @property
    def person(self) -> int:
        """1 or 3."""

    @property
    def plural(self) -> bool:
        """Whether the German verb is plural."""

    @property
    def english_plural(self) -> bool: ...

    @property
    def reflexive(self) -> str:
        """mich, uns, sich."""

    @property
    def is_pronoun(self) -> bool: ...

    def german(self, case: str) -> str:
        """The German words in a case."""

    def english(self, *, subject: bool = False) -> str:
        """The English words."""


@dataclass(frozen=True, slots=True)
class Pronoun:
    """A personal pronoun."""

    forms: dict[str, str]
    """German, by case."""
    reflexive: str
    subject: str
    object: str
    person: int
    plural: bool

    @property
    def english_plural(self) -> bool:
        return self.plural

    @property
    def is_pronoun(self) -> bool:
        return True

    def german(self, case: str) -> str:
        return self.forms[case]

    def english(self, *, subject: bool = False) -> str:
        return self.subject if subject else self.object


ICH = Pronoun({"nom": "ich", "acc": "mich", "dat": "mir"}, "mich", "I", "me", 1, False)
WIR = Pronoun({"nom": "wir", "acc": "uns", "dat": "uns"}, "uns", "we", "us", 1, True)
SIE = Pronoun({"nom": "Sie", "acc": "Sie", "dat": "Ihnen"}, "sich", "you", "you", 3, True)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Determiner, adjectives, noun, and what follows the noun."""

    determiner: str
    """German stem (der, ein, dies), a number's German word, or empty."""
    noun: Noun
    adjectives: tuple[Adjective, ...] = ()
    plural: bool = False
    count: str = ""
    """English of a number that is the determiner."""
    tail: Pair = ("", "")
    bare: bool = False
    """English leaves the article out: die Freiheit, freedom."""

    @property
    def person(self) -> int:
        return 3

    @property
    def english_plural(self) -> bool:
        return self.plural or self.noun.always_plural

    @property
    def reflexive(self) -> str:
        return "sich"

    @property
    def is_pronoun(self) -> bool:
        return False

    @property
    def slot(self) -> str:
        """Gender, or `p`."""
        return "p" if self.plural else self.noun.gender

    def german(self, case: str) -> str:
        key = (case, self.slot)
        determiner, endings = self._declension(key)
        words = [determiner] if determiner else []
        words += [adjective.stem + endings[key] for adjective in self.adjectives]
        words.append(self.noun.german(case, self.plural))
        return " ".join(words) + self.tail[0]

    def _declension(self, key: tuple[str, str]) -> tuple[str, dict[tuple[str, str], str]]:
        word = self.determiner
        if word == "der":
            return german.DEFINITE[key], german.ADJECTIVE_WEAK
        if word in _LIKE_EIN and not (word == "ein" and self.plural):
            stem = _POSSESSED_LIKE_EIN.get(word, word)
            return stem + german.MIXED[key], german.ADJECTIVE_MIXED
        if word in _LIKE_DER:
            return word + german.STRONG[key], german.ADJECTIVE_WEAK
        if word in _STRONG:
            return word + german.STRONG[key], german.ADJECTIVE_STRONG
        return ("" if word == "ein" else word), german.ADJECTIVE_STRONG

    def english(self, *, subject: bool = False) -> str:
        noun = self.noun.english_plural if self.english_plural else self.noun.english
        words = " ".join([*(adjective.english for adjective in self.adjectives), noun])
        return self._determined(words) + self.tail[1]

    def _determined(self, words: str) -> str:
        if self.bare:
            return words
        pair = _ENGLISH_DETERMINERS.get(self.determiner)
        determiner = pair[self.english_plural] if pair else self.count
        if determiner == "a":
            return english.with_article(words)
        return f"{determiner} {words}" if determiner else words


def relative_pronoun(antecedent: Phrase, case: str) -> str:
    """The German relative pronoun for a phrase: der, dem, denen."""
    return german.RELATIVE[(case, antecedent.slot)]
