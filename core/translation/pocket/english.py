"""English inflection, as far as the pocket corpus needs it."""

from __future__ import annotations

import re

_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SOUNDED = re.compile(r"(?!uni(?!n)|use|one)[aeiou]")
_SHORT = re.compile(r"[^aeiou]*[aeiou][^aeiouwxy]")
_HISSING = ("s", "sh", "ch", "x", "z")


def with_article(words: str) -> str:
    """`words` with "a" or "an" before them, by the sound of the first."""
    return f"{'an' if _SOUNDED.match(words.lower()) else 'a'} {words}"


def plural(noun: str) -> str:
    """The regular plural."""
    if noun.endswith(_HISSING):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def third_person(verb: str) -> str:
    """Third person singular, present."""
    if verb in {"have", "be"}:
        return {"have": "has", "be": "is"}[verb]
    return verb + "es" if verb.endswith("o") else plural(verb)


def gerund(verb: str) -> str:
    """The form in -ing: lying, running, writing."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return _doubled(verb) + "ing"


def past(verb: str) -> str:
    """Past and past participle of a regular verb."""
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return _doubled(verb) + "ed"


def number(value: int) -> str:
    """A number from 0 to 99 in words."""
    if value < 20:
        return _ONES.split()[value]
    tens = _TENS.split()[value // 10 - 2]
    return f"{tens}-{_ONES.split()[value % 10]}" if value % 10 else tens


def _doubled(verb: str) -> str:
    return verb + verb[-1] if _SHORT.fullmatch(verb) else verb
