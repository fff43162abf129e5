"""Words in both languages, read from the tables of nouns, verbs and adjectives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from core.translation.pocket import english, german
from core.translation.pocket.nouns import COMPOUNDS, NOUNS, PLACES
from core.translation.pocket.verbs import ADJECTIVES, VERBS

_GENDERS = {"der": "m", "die": "f", "das": "n"}


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun and its translation."""

    gender: str
    singular: str
    plural: str
    """Empty for a mass noun."""
    weak: bool
    """Whether every form but the nominative singular is the plural's."""
    english: str
    english_plural: str
    always_plural: bool
    """English has only the plural: eine Hose, pants."""

    def german(self, case: str, plural: bool) -> str:
        """The form for a case and number."""
        if plural:
            return german.dative_plural(self.plural) if case == "dat" else self.plural
        if self.weak and case != "nom":
            return self.plural
        if case == "gen" and self.gender != "f":
            return german.genitive(self.singular)
        return self.singular


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective and its translation."""

    base: str
    stem: str
    """What endings are put to: teuer, teur-."""
    english: str


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb, the frame it stands in, and its translation."""

    particle: str
    """What leaves the verb in a main clause: auf in aufheben, Fahrrad in Fahrrad fahren."""
    joint: str
    """What stands between particle and verb where they meet: nothing, or a space."""
    present: tuple[str, str, str]
    """First person, third person, plural; the plural is the infinitive without particle."""
    preterite: tuple[str, str]
    """Singular and plural."""
    participle: str
    with_sein: bool
    reflexive: bool
    preposition: str
    """Of the object, or empty."""
    case: str
    """Of the object."""
    head: tuple[str, str, str, str, str]
    """English base, third person, past, participle, gerund."""
    rest: str
    """What follows the English head; `~` stands for the object where it does not come last."""
    groups: tuple[str, ...]
    """Groups of nouns that can be its object; empty for an intransitive verb."""

    @property
    def infinitive(self) -> str:
        return self.particle + self.joint + self.present[2]

    @property
    def zu_infinitive(self) -> str:
        if not self.particle:
            return f"zu {self.present[2]}"
        return f"{self.particle}{self.joint}zu{self.joint}{self.present[2]}"


def entries(text: str) -> list[str]:
    """The entries of a table."""
    return [" ".join(entry.split()) for entry in text.split(";")]


def read_noun(entry: str) -> Noun:
    """The noun of one entry."""
    left, right = entry.split(" = ")
    article, forms = left.split(" ", 1)
    singular, _, plural = forms.rstrip("*").partition("/")
    always_plural = right.startswith("+")
    word, _, irregular = right.lstrip("+").partition("/")
    return Noun(
        gender=_GENDERS[article],
        singular=singular,
        plural=plural,
        weak=forms.endswith("*"),
        english=word,
        english_plural=word if always_plural else irregular or english.plural(word),
        always_plural=always_plural,
    )


def read_adjective(entry: str) -> Adjective:
    """The adjective of one entry."""
    left, right = entry.split(" = ")
    base, _, stem = left.partition("/")
    # müde, müder: the ending's vowel swallows the stem's.
    return Adjective(base, stem or base.removesuffix("e"), right)


def read_verb(entry: str) -> Verb:
    """The verb of one entry."""
    left, right = entry.split(" = ")
    words = left.split()
    reflexive = words[0] == "sich"
    case = words.pop()[1:] if words[-1].startswith("@") else "acc"
    preposition, _, governed = case.rpartition("-")
    with_sein = "ist" in words
    infinitive, *strong = [word for word in words if word not in ("sich", "ist")]
    joint = " " if "+" in infinitive else ""
    particle, _, bare = infinitive.replace("+", "|").rpartition("|")
    third, preterite, participle = strong or german.weak_verb(bare)
    meaning, _, groups = right.partition(" : ")
    head, _, rest = meaning.partition(" ")
    base, *irregular = head.split("/")
    past, past_participle = irregular or (english.past(base),) * 2
    return Verb(
        particle=particle,
        joint=joint,
        present=(german.first_person(bare), third, bare),
        preterite=(preterite, german.preterite_plural(preterite)),
        participle=particle + joint + participle,
        with_sein=with_sein,
        reflexive=reflexive,
        preposition=preposition,
        case=governed,
        head=(base, english.third_person(base), past, past_participle, english.gerund(base)),
        rest=rest,
        groups=_groups(groups),
    )


def _groups(text: str) -> tuple[str, ...]:
    """Names of groups; `building work` and its like are two words."""
    found = []
    for name in sorted(NOUNS, key=len, reverse=True):
        if f" {name} " in f" {text} ":
            found.append(name)
            text = f" {text} ".replace(f" {name} ", " ").strip()
    assert not text, f"no group of nouns: {text}"
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All words, by group."""

    nouns: dict[str, tuple[Noun, ...]]
    compounds: dict[str, tuple[Noun, ...]]
    """By the head's singular."""
    places: dict[tuple[str, str], tuple[Noun, ...]]
    """By German and English preposition; in the dative."""
    verbs: dict[str, tuple[Verb, ...]]
    adjectives: dict[str, tuple[Adjective, ...]]

    def stems(self) -> int:
        """Distinct German words, compounds not counted."""
        words = {noun.singular for group in self.nouns.values() for noun in group}
        words |= {noun.singular for group in self.places.values() for noun in group}
        words |= {verb.infinitive for group in self.verbs.values() for verb in group}
        return len(words | {word.base for group in self.adjectives.values() for word in group})


@cache
def lexicon() -> Lexicon:
    """The words, read once."""
    nouns = {group: tuple(map(read_noun, entries(text))) for group, text in NOUNS.items()}
    # A word that stands in two groups (die Bank: Bänke, Banken) compounds in its first sense.
    heads = {noun.singular: noun for group in reversed(nouns.values()) for noun in group}
    compounds: dict[str, tuple[Noun, ...]] = {}
    for (prefix, adjective), words in COMPOUNDS.items():
        for word in words.split():
            compounds[word] = (*compounds.get(word, ()), _compound(prefix, adjective, heads[word]))
    return Lexicon(
        nouns=nouns,
        compounds=compounds,
        places={key: tuple(map(read_noun, entries(text))) for key, text in PLACES.items()},
        verbs={group: tuple(map(read_verb, entries(text))) for group, text in VERBS.items()},
        adjectives={
            group: tuple(map(read_adjective, entries(text))) for group, text in ADJECTIVES.items()
        },
    )


def _compound(prefix: str, adjective: str, head: Noun) -> Noun:
    return replace(
        head,
        singular=prefix + head.singular.lower(),
        plural=prefix + head.plural.lower() if head.plural else "",
        english=f"{adjective} {head.english}",
        english_plural=f"{adjective} {head.english_plural}",
    )
