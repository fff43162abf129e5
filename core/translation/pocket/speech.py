"""What talks are put together from: their subjects, objects, predicates and clauses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.translation.pocket import english, frames, german
from core.translation.pocket.clauses import CAN, MODALS, SHOULD, Clause, Modal, Predicate, govern
from core.translation.pocket.draw import Draw
from core.translation.pocket.lexicon import Adjective, Lexicon, Verb
from core.translation.pocket.phrases import (
    ICH,
    SIE,
    WIR,
    Nominal,
    Pair,
    Phrase,
    relative_pronoun,
)

THINGS = ("issue", "plan", "tool", "institution")
_ADJECTIVES = {
    "official": "talk person",
    "family": "talk person",
    "body": "talk place",
    "institution": "talk place",
}
_ONE = {"indefinite": ("ein",), "definite": ("der", "dies", "unser", "der")}
_ONE["any"] = ("ein", "ein", "der", "der", "der", "dies", "unser", "ein")
_ONE["person"] = ("ein", "ein", "der", "der", "unser", "jed", "dies")
_ONE["family"] = ("mein", "mein", "unser")
_MANY = {"indefinite": ("ein", "viel", "einig", "mehrer"), "definite": ("der", "dies", "unser")}
_MANY["any"] = (*_MANY["indefinite"], *_MANY["definite"])
_MANY["person"] = (*_MANY["any"], "all")
_MANY["family"] = ("mein", "unser")
_ATTRIBUTED = {"issue", "plan", "text"}
"""Groups whose nouns belong to something: die Ursache der Krise."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of a group, as a subject: 40 Prozent der Lehrer."""

    words: Pair

    @property
    def person(self) -> int:
        return 3

    @property
    def plural(self) -> bool:
        return True

    @property
    def english_plural(self) -> bool:
        return True

    @property
    def reflexive(self) -> str:
        return "sich"

    @property
    def is_pronoun(self) -> bool:
        return False

    def german(self, case: str) -> str:
        assert case == "nom"
        return self.words[0]

    def english(self, *, subject: bool = False) -> str:
        assert subject
        return self.words[1]


class Speech:
    """Draws the parts of talks."""

    def __init__(self, draw: Draw, lexicon: Lexicon) -> None:
        self.draw = draw
        self._lexicon = lexicon
        seek = lexicon.verbs["seek"]
        self._plain = tuple(
            verb
            for verb in seek
            if verb.case == "acc" and not (verb.preposition or verb.reflexive or "~" in verb.rest)
        )
        self._passive = tuple(verb for verb in self._plain if set(verb.groups) & set(THINGS))
        self._personal = tuple(
            verb for verb in seek if "official" in verb.groups and "~" not in verb.rest
        )

    def clause(
        self, kind: str, *, where: float = 0.25, often: float = 0.0, modal: Modal | None = None
    ) -> Clause:
        """A clause; `kind` is a tense or `modal`, `where` and `often` probabilities of adverbs."""
        if self.draw.chance(0.12):
            return self._event(kind)
        subject, predicate = self.subject(), self.predicate(where)
        if kind == "modal":
            return Clause(subject, predicate, modal=modal or self.draw.pick(MODALS))
        adverb = self.draw.pick(frames.OFTEN) if self.draw.chance(often) else ("", "")
        if kind == "past" and (subject.person == 1 or self.draw.chance(0.3)):
            kind = "perfect"
        return Clause(subject, predicate, kind, adverb=adverb)

    def _event(self, kind: str) -> Clause:
        verb = self.draw.word(self._lexicon.verbs["happen"])
        subject = self.phrase(self.draw.pick(verb.groups), "definite")
        if kind == "modal":
            return Clause(subject, Predicate(verb, "", verb.rest), modal=CAN)
        return Clause(subject, Predicate(verb, "", verb.rest), kind)

    def passive(self, tense: str) -> Clause:
        """Something counted that things are done to."""
        verb = self.draw.word(self._passive)
        thing = self._counted(self.draw.pick([group for group in verb.groups if group in THINGS]))
        predicate = self._somewhere(Predicate(verb, "", verb.rest), 0.6)
        return Clause(thing, predicate, tense, passive=True)

    def meeting(self) -> tuple[Clause, Phrase]:
        """What the speaker had to do with someone, and who that was."""
        person = self.phrase("official", "indefinite", attributed=False)
        predicate = govern(self.draw.word(self._personal), person)
        return Clause(self.draw.pick((ICH, WIR)), predicate, "perfect"), person

    def relative(self, thing: Phrase, group: str) -> Pair:
        """A relative clause about a phrase of the group, its pronoun the subject."""
        people = group == "official"
        tense = self.draw.pick(("present", "past"))
        modal = CAN if self.draw.chance(0.3) else None
        if people:
            predicate = self.predicate(0.25)
        else:
            verbs = [verb for verb in self._lexicon.verbs["happen"] if group in verb.groups]
            verb = self.draw.pick(verbs)
            predicate = self._somewhere(Predicate(verb, "", verb.rest), 0.5)
        clause = Clause(thing, predicate, tense, modal)
        who = "who" if people else "that"
        pronoun = relative_pronoun(thing, "nom")
        return clause.relative(pronoun), f"{who} {clause.english(subject=False)}"

    def share(self) -> Share:
        """A share of some people."""
        value = self.draw.pick(frames.NUMBERS)
        people = replace(self.phrase("official", "definite", plural=True), determiner="der")
        return Share(
            (f"{value} Prozent {people.german('gen')}", f"{value} percent of {people.english()}")
        )

    def predicate(self, where: float = 0.0) -> Predicate:
        """What people do; somewhere with probability `where`."""
        if self.draw.chance(0.1):
            verb = self.draw.word(self._lexicon.verbs["live"])
            return self._somewhere(Predicate(verb, "", verb.rest), 1.0)
        return self._somewhere(self._object(self.draw.word(self._lexicon.verbs["seek"])), where)

    def deed(self) -> Predicate:
        """What people do to an object in the accusative."""
        return self._object(self.draw.word(self._plain))

    def _object(self, verb: Verb) -> Predicate:
        return govern(verb, self.phrase(self.draw.pick(verb.groups), attributed=True))

    def _somewhere(self, predicate: Predicate, probability: float) -> Predicate:
        if not self.draw.chance(probability):
            return predicate
        return predicate.placed(self.draw.pick(frames.WHERE))

    def subject(self) -> Nominal:
        """Who acts."""
        roll = self.draw.below(10)
        if roll < 5:
            return (ICH, WIR, WIR, SIE, ICH)[roll]
        if roll == 5:
            return self.phrase("body", "definite")
        return self.phrase("official", "person")

    def phrase(
        self,
        group: str,
        kind: str = "any",
        *,
        plural: bool | None = None,
        attributed: bool = False,
    ) -> Phrase:
        """A noun phrase; `kind` says which determiners, `attributed` lets a genitive follow."""
        if group == "official" and kind in ("any", "person") and self.draw.chance(0.25):
            group, kind = "family", "family"
        noun = self.draw.word(self._lexicon.nouns[group])
        if not noun.plural:
            return Phrase("der", noun, bare=True)
        compounds = self._lexicon.compounds.get(noun.singular, ())
        adjectives: tuple[Adjective, ...] = ()
        if compounds and compounds[0].gender == noun.gender and self.draw.chance(0.4):
            noun = self.draw.word(compounds)
        elif self.draw.chance(0.4):
            adjectives = (self.adjective(group),)
        many = self.draw.chance(0.3) if plural is None else plural
        determiner = self.draw.pick((_MANY if many else _ONE)[kind])
        phrase = Phrase(determiner, noun, adjectives, many)
        if attributed and group in _ATTRIBUTED and determiner == "der" and self.draw.chance(0.6):
            owner = self.phrase(self.draw.pick(("body", "institution", "official")), "definite")
            tail = (f" {owner.german('gen')}", f" of {owner.english()}")
            return replace(phrase, tail=tail)
        return phrase

    def adjective(self, group: str) -> Adjective:
        """One that suits the group."""
        return self.draw.word(self._lexicon.adjectives[_ADJECTIVES.get(group, "talk")])

    def _counted(self, group: str) -> Phrase:
        """A plural with its number: in words below a hundred, else in figures."""
        phrase = self.phrase(group, "indefinite", plural=True)
        if self.draw.chance(0.5):
            value = self.draw.pick(frames.NUMBERS)
            return replace(phrase, determiner=german.number(value), count=english.number(value))
        figures = f"{(1 + self.draw.below(99)) * 100:,}"
        return replace(phrase, determiner=figures.replace(",", "."), count=figures)

    def time(self, tense: str) -> Pair:
        """A time that goes with the tense."""
        said = self.draw.pick(frames.WHEN[tense])
        number = self.draw.pick(frames.NUMBERS)
        year = str(1950 + self.draw.below(70))
        return (
            said[0].format(n=german.number(number), y=year),
            said[1].format(n=english.number(number), y=year),
        )

    def condition(self) -> Clause:
        """A clause for after `wenn`."""
        modal = self.draw.pick([modal for modal in MODALS if modal is not SHOULD])
        return self.clause(self.draw.pick(("present", "modal")), modal=modal)
