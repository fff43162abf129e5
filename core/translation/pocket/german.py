"""German inflection, as far as the pocket corpus needs it.

Cases are `nom`, `acc`, `dat`, `gen`; a slot is a gender, `m`, `f`, `n`, or `p` for the plural.
"""

from __future__ import annotations

import re

_ONES = """null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn
    fünfzehn sechzehn siebzehn achtzehn neunzehn"""
_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"


def _table(text: str) -> dict[tuple[str, str], str]:
    """Four cases by four slots; a dot stands for no ending."""
    rows = [line.split() for line in text.strip().splitlines()]
    return {
        (case, slot): "" if form == "." else form
        for case, row in zip(("nom", "acc", "dat", "gen"), rows, strict=True)
        for slot, form in zip("mfnp", row, strict=True)
    }


DEFINITE = _table("""
    der die das die
    den die das die
    dem der dem den
    des der des der""")
RELATIVE = {**DEFINITE, ("dat", "p"): "denen"}
STRONG = _table("""
    er e es e
    en e es e
    em er em en
    es er es er""")
MIXED = {**STRONG, ("nom", "m"): "", ("nom", "n"): "", ("acc", "n"): ""}
"""Endings of ein, kein, mein: bare where der has an ending of its own."""

ADJECTIVE_STRONG = {**STRONG, ("gen", "m"): "en", ("gen", "n"): "en"}
ADJECTIVE_WEAK = _table("""
    e  e  e  en
    en e  e  en
    en en en en
    en en en en""")
ADJECTIVE_MIXED = {
    **ADJECTIVE_WEAK,
    ("nom", "m"): "er",
    ("nom", "n"): "es",
    ("acc", "n"): "es",
}

_CONTRACTIONS = {
    "in dem": "im",
    "in das": "ins",
    "an dem": "am",
    "an das": "ans",
    "zu dem": "zum",
    "zu der": "zur",
    "von dem": "vom",
    "bei dem": "beim",
}


def after_preposition(preposition: str, phrase: str) -> str:
    """The two joined, contracted where German contracts: in dem Park, im Park."""
    article, _, rest = phrase.partition(" ")
    short = _CONTRACTIONS.get(f"{preposition} {article}")
    return f"{short} {rest}" if short else f"{preposition} {phrase}"


def genitive(noun: str) -> str:
    """Genitive singular of a strong masculine or neuter noun."""
    if noun.endswith("nis"):
        return noun + "ses"
    if noun.endswith(("s", "ß", "x", "z", "sch", "st")):
        return noun + "es"
    syllables = len(re.findall(r"[aeiouyäöü]+", noun.lower()))
    return noun + ("es" if syllables == 1 and noun.endswith(("d", "t", "nn", "hn")) else "s")


def dative_plural(plural: str) -> str:
    """Dative plural from the nominative plural."""
    return plural if plural.endswith(("n", "s")) else plural + "n"


def weak_verb(infinitive: str) -> tuple[str, str, str]:
    """Third person, preterite and participle of a regular verb without its particle."""
    stem = _stem(infinitive)
    buffered = re.search(r"([td]|chn|[^aeiouäöürlhmn][mn])$", stem)
    third = stem + ("et" if buffered else "t")
    prefixed = re.match(r"(be|ge|er|ver|zer|ent|emp|miss|unter|über)", infinitive)
    unmarked = prefixed or infinitive.endswith("ieren")
    return third, third + "e", third if unmarked else "ge" + third


def first_person(infinitive: str) -> str:
    """First person singular, present: ich lese, ich sammle, ich erinnere."""
    if infinitive.endswith("eln"):
        return infinitive[:-3] + "le"
    return _stem(infinitive) + "e"


def preterite_plural(preterite: str) -> str:
    """Plural of the preterite: sie gingen, sie machten."""
    return preterite + ("n" if preterite.endswith("e") else "en")


def number(value: int) -> str:
    """A number from 0 to 99 in words, as it stands before a noun: fünfundzwanzig."""
    if value < 20:
        return _ONES.split()[value]
    tens = _TENS.split()[value // 10 - 2]
    return f"{_ONES.split()[value % 10]}und{tens}" if value % 10 else tens


def _stem(infinitive: str) -> str:
    return infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]
