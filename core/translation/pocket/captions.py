"""The caption register: short scenes, present tense, told in English as they go on."""

from __future__ import annotations

from dataclasses import replace

from core.translation.pocket import english, german
from core.translation.pocket.clauses import (
    Clause,
    Predicate,
    english_infinitive,
    govern,
    infinitive,
    join,
)
from core.translation.pocket.draw import Draw
from core.translation.pocket.lexicon import Adjective, Lexicon, Noun, Verb
from core.translation.pocket.phrases import Pair, Phrase, relative_pronoun

PEOPLE = ("adult", "adult", "child")
_ADJECTIVES = {
    "adult": ("adult",),
    "child": ("child",),
    "animal": ("animal",),
    "garment": ("color", "color", "cloth"),
    "outerwear": ("color", "color", "cloth"),
    "headwear": ("color",),
    "fruit": ("taste",),
    "snack": ("taste",),
    "meal": ("taste",),
    "drink": ("drink",),
    "landmark": ("landmark",),
    "obstacle": ("landmark",),
    "building work": ("landmark",),
    "picture": ("object",),
    "reading": ("object",),
}
"""Groups of adjectives that suit a group of nouns; all others take colours and `object`."""
_WORN = {"garment", "outerwear", "headwear"}
_NUMBERS = (2, 2, 2, 3, 3, 4, 5, 6)
_QUANTITIES = ("mehrer", "mehrer", "einig", "viel")
_NEAR = (("vor", "in front of"), ("neben", "next to"), ("hinter", "behind"))
_OTHER = Adjective("ander", "ander", "other")
_ANOTHER = Adjective("ander", "ander", "another")
_TOWARDS = (
    ("durch", "acc", "through", ("Park", "Wald", "Garten", "Schnee", "Regen", "Gras", "Sand")),
    ("über", "acc", "across", ("Straße", "Brücke", "Feld", "Wiese", "Hof", "Parkplatz")),
    ("zu", "dat", "to", ("Bushaltestelle", "Bahnhof", "Fluss", "See", "Strand", "Spielplatz")),
    ("in", "acc", "into", ("Küche", "Wald", "Garten", "Supermarkt", "Büro", "Restaurant")),
    ("auf", "acc", "onto", ("Bühne", "Balkon", "Straße", "Brücke", "Rasen")),
    ("aus", "dat", "out of", ("Küche", "Wald", "Supermarkt", "Büro", "Café", "Stadion")),
    ("", "acc", "along", ("Straße", "Fluss", "Strand", "Gehweg", "Straßenrand")),
)
"""German preposition, case, English, places. Along is a postposition: die Straße entlang."""


class Captions:
    """Draws captions."""

    def __init__(self, draw: Draw, lexicon: Lexicon) -> None:
        self._draw = draw
        self._lexicon = lexicon
        self._named = {noun.singular: noun for group in lexicon.places.values() for noun in group}

    def sentence(self) -> Pair:
        """One caption, without its final stop."""
        plan = self._draw.weighted(
            (
                (44, self._scene),
                (20, self._fronted),
                (6, self._meanwhile),
                (7, self._and_then),
                (6, self._who),
                (6, self._in_order_to),
                (7, self._still_life),
                (7, self._animals),
            )
        )
        return plan()

    # Plans

    def _scene(self) -> Pair:
        subject, group = self._someone()
        clause = self._now(subject, self._doing(subject, group))
        return clause.main(), clause.english()

    def _fronted(self) -> Pair:
        place = self.place()
        subject, group = self._someone(modified=False)
        clause = self._now(subject, self._plain(subject, group))
        return clause.main(front=place[0]), f"{place[1]}, {clause.english()}"

    def _meanwhile(self) -> Pair:
        first, group = self._someone(modified=False)
        other, other_group = self._another()
        clause = self._now(first, self._doing(first, group))
        aside = self._now(other, self._plain(other, other_group))
        return (
            f"{clause.main()}, {aside.final('während')}",
            f"{clause.english()} while {aside.english()}",
        )

    def _and_then(self) -> Pair:
        subject, group = self._someone(modified=self._draw.chance(0.3))
        first = self._now(subject, self._staying("pose"))
        then = self._now(subject, self._plain(subject, group))
        doing = join(then.predicate.verb.head[4], then.predicate.english)
        return f"{first.main()} und {then.second()}", f"{first.english()} and {doing}"

    def _who(self) -> Pair:
        subject, group = self._someone(modified=False)
        inner = self._now(subject, self._handling(subject, group))
        relative = inner.relative(relative_pronoun(subject, "nom"))
        tail = (f", {relative},", f" who {inner.english(subject=False)}")
        outer = self._now(replace(subject, tail=tail), self._staying("pose"))
        return outer.main(), outer.english()

    def _in_order_to(self) -> Pair:
        subject, _ = self._someone(modified=False)
        verb = self._draw.word(self._lexicon.verbs["pause"])
        clause = self._now(subject, Predicate(verb, "", verb.rest))
        aim = self._with_object(self._draw.word(self._lexicon.verbs["task"]), subject)
        return (
            f"{clause.main()}, um {infinitive(aim)}",
            f"{clause.english()} to {english_infinitive(aim)}",
        )

    def _still_life(self) -> Pair:
        lying = self._draw.chance(0.5)
        groups = ("thing", "fruit", "reading", "toy") if lying else ("dishes", "luggage")
        verb = self._lexicon.verbs["lie" if lying else "stand"][0]
        subject = self.phrase(self._draw.pick(groups), counted=0.4)
        table = self.phrase("surface", counted=0)
        clause = self._now(subject, Predicate(verb, "", f"on {table.english()}"))
        return clause.main(front=f"auf {table.german('dat')}"), clause.english()

    def _animals(self) -> Pair:
        subject = self.phrase("animal", counted=0.35)
        predicate = self._draw.pick((self._resting, self._moving, self._hunting))()
        clause = self._now(subject, predicate)
        return clause.main(), clause.english()

    # Subjects

    def _someone(self, *, modified: bool = True) -> tuple[Phrase, str]:
        group = self._draw.pick(PEOPLE)
        phrase = self.phrase(group, counted=0.2, adjective=0.3)
        if modified and self._draw.chance(0.15):
            phrase = self._with_tail(phrase)
        return phrase, group

    def _another(self) -> tuple[Phrase, str]:
        group = self._draw.pick(PEOPLE)
        noun = self._draw.word(self._lexicon.nouns[group])
        roll = self._draw.below(3)
        if roll == 0:
            # The article is in the English adjective: ein anderer Mann, another man.
            return Phrase("ein", noun, (_ANOTHER,), bare=True), group
        if roll == 1:
            return Phrase("der", noun, (_OTHER,), plural=True), group
        return self.phrase(group, counted=0.2), group

    def _with_tail(self, phrase: Phrase) -> Phrase:
        dressed = self._draw.chance(0.6)
        groups = ("garment", "outerwear") if dressed else ("headwear", "headwear", "luggage")
        worn = self.phrase(self._draw.pick(groups), counted=0, adjective=0.85)
        worn = replace(worn, plural=phrase.plural)
        german_in, english_in = ("in", "in") if dressed else ("mit", "with")
        tail = (f" {german_in} {worn.german('dat')}", f" {english_in} {worn.english()}")
        return replace(phrase, tail=tail)

    def phrase(self, group: str, *, counted: float = 0.15, adjective: float = 0.22) -> Phrase:
        """A noun phrase of a group: indefinite, or with a number with probability `counted`."""
        noun = self._noun(group)
        adjectives = (self._adjective(group),) if self._draw.chance(adjective) else ()
        if not noun.plural:
            return Phrase("", noun, adjectives)
        if not self._draw.chance(counted):
            return Phrase("ein", noun, adjectives)
        if self._draw.chance(0.7):
            value = self._draw.pick(_NUMBERS)
            word = german.number(value)
            return Phrase(word, noun, adjectives, plural=True, count=english.number(value))
        return Phrase(self._draw.pick(_QUANTITIES), noun, adjectives, plural=True)

    def _noun(self, group: str) -> Noun:
        noun = self._draw.word(self._lexicon.nouns[group])
        compounds = self._lexicon.compounds.get(noun.singular)
        if compounds and compounds[0].gender == noun.gender and self._draw.chance(0.3):
            return self._draw.word(compounds)
        return noun

    def _adjective(self, group: str) -> Adjective:
        kind = self._draw.pick(_ADJECTIVES.get(group, ("color", "object")))
        return self._draw.word(self._lexicon.adjectives[kind])

    # Predicates

    def _doing(self, subject: Phrase, group: str) -> Predicate:
        roll = self._draw.below(3)
        if roll == 0:
            return self._staying()
        if roll == 1:
            return self._moving()
        predicate = self._plain(subject, group)
        return predicate.placed(self.place()) if self._draw.chance(0.15) else predicate

    def _plain(self, subject: Phrase, group: str) -> Predicate:
        """What one can do anywhere, so that it says no place itself."""
        roll = self._draw.below(10)
        if roll < 2:
            verb = self._draw.word(self._lexicon.verbs[self._draw.pick(("act", "hobby"))])
            return Predicate(verb, "", verb.rest)
        if roll == 2:
            return self._giving()
        return self._handling(subject, group)

    def _handling(self, subject: Phrase, group: str) -> Predicate:
        kinds = ("handle", "task", "task", "relate", "trade" if group == "adult" else "task")
        verb = self._draw.word(self._lexicon.verbs[self._draw.pick(kinds)])
        return self._with_object(verb, subject)

    def _hunting(self) -> Predicate:
        return self._with_object(self._draw.word(self._lexicon.verbs["animal act"]), None)

    def _with_object(self, verb: Verb, subject: Phrase | None) -> Predicate:
        group = self._draw.pick(verb.groups)
        if subject is None or group not in _WORN:
            return govern(verb, self.phrase(group, counted=0 if group == "meal" else 0.15))
        thing = replace(self.phrase(group, counted=0), plural=subject.plural)
        owner = "their" if subject.plural else {"m": "sein", "f": "her"}.get(subject.noun.gender)
        if owner and self._draw.chance(0.4):
            thing = replace(thing, determiner=owner)
        return govern(verb, thing)

    def _giving(self) -> Predicate:
        verb = self._draw.word(self._lexicon.verbs["give"])
        receiver = self.phrase(self._draw.pick(PEOPLE), counted=0, adjective=0.2)
        thing = self.phrase(self._draw.pick(verb.groups), counted=0)
        said = join(verb.rest, receiver.english(), thing.english())
        return Predicate(verb, join(receiver.german("dat"), thing.german("acc")), said)

    def _staying(self, how: str = "stay") -> Predicate:
        verb = self._draw.word(self._lexicon.verbs[how])
        return Predicate(verb, "", verb.rest).placed(self.place())

    def _resting(self) -> Predicate:
        return self._staying("rest")

    def _moving(self) -> Predicate:
        if self._draw.chance(0.2):
            verb = self._draw.word(self._lexicon.verbs["leap"])
            over = self.phrase("obstacle", counted=0)
            return Predicate(verb, f"über {over.german('acc')}", f"over {over.english()}")
        verb = self._draw.word(self._lexicon.verbs["move"])
        if self._draw.chance(0.2):
            past = self.phrase("landmark", counted=0)
            return Predicate(verb, f"an {past.german('dat')} vorbei", f"past {past.english()}")
        preposition, case, said, places = self._draw.pick(_TOWARDS)
        place = Phrase("der", self._named[self._draw.pick(places)])
        where = place.german(case)
        to = german.after_preposition(preposition, where) if preposition else f"{where} entlang"
        return Predicate(verb, to, f"{said} {place.english()}")

    def place(self) -> Pair:
        """Where a scene is: on the street, behind a tree."""
        if self._draw.chance(0.25):
            preposition, said = self._draw.pick(_NEAR)
            mark = self.phrase(self._draw.pick(("landmark", "landmark", "car")), counted=0)
            return f"{preposition} {mark.german('dat')}", f"{said} {mark.english()}"
        (preposition, said), nouns = self._draw.weighted(
            [(len(nouns), (key, nouns)) for key, nouns in self._lexicon.places.items()]
        )
        place = Phrase("der", self._draw.pick(nouns))
        where = german.after_preposition(preposition, place.german("dat"))
        return where, f"{said} {place.english()}"

    def _now(self, subject: Phrase, predicate: Predicate) -> Clause:
        return Clause(subject, predicate, progressive=True)
