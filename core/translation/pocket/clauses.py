"""Clauses in both languages: where German puts its verbs, and where English does.

A main clause has its finite verb second and what belongs to it last; a subordinate clause has both
at the end; English keeps subject, verb, object. A `Predicate` is a verb with its complements, a
`Clause` adds subject, tense and mood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.translation.pocket.lexicon import Verb
from core.translation.pocket.phrases import Nominal, Pair, Phrase


@dataclass(frozen=True, slots=True)
class Modal:
    """A modal verb."""

    present: Pair
    """German, singular and plural."""
    past: Pair
    english: Pair
    """English, third person singular and all others."""
    english_past: str


CAN = Modal(("kann", "können"), ("konnte", "konnten"), ("can", "can"), "could")
MUST = Modal(("muss", "müssen"), ("musste", "mussten"), ("has to", "have to"), "had to")
WANT = Modal(("will", "wollen"), ("wollte", "wollten"), ("wants to", "want to"), "wanted to")
SHOULD = Modal(("sollte", "sollten"), ("sollte", "sollten"), ("should", "should"), "should")
MODALS = (CAN, MUST, WANT, SHOULD)
_AUXILIARIES = {"can", "could", "should"}

SEIN = Verb(
    particle="",
    joint="",
    present=("bin", "ist", "sind"),
    preterite=("war", "waren"),
    participle="gewesen",
    with_sein=True,
    reflexive=False,
    preposition="",
    case="nom",
    head=("be", "is", "was", "been", "being"),
    rest="",
    groups=(),
)
# First person, third person, plural; then singular and plural of the preterite.
_SEIN = (*SEIN.present, *SEIN.preterite)
_HABEN = ("habe", "hat", "haben", "hatte", "hatten")
_WERDEN = ("werde", "wird", "werden", "wurde", "wurden")


@dataclass(frozen=True, slots=True)
class Predicate:
    """A verb with its complements; the English ones hold what follows the verb's head."""

    verb: Verb
    german: str = ""
    english: str = ""

    def placed(self, place: Pair) -> Predicate:
        """The predicate somewhere: German says where before the object, English at the end."""
        return replace(
            self, german=join(place[0], self.german), english=join(self.english, place[1])
        )


@dataclass(frozen=True, slots=True)
class Clause:
    """A predicate said of a subject."""

    subject: Nominal
    predicate: Predicate
    tense: str = "present"
    """present, past, perfect, pluperfect, future; past and perfect are one in English."""
    modal: Modal | None = None
    progressive: bool = False
    """English: is walking."""
    adverb: Pair = ("", "")
    """One that English says before its verb: oft, often."""
    passive: bool = False
    """The predicate holds no object then: it is the subject."""

    def main(self, front: str = "") -> str:
        """German main clause, verb second; `front` takes the first place from the subject."""
        finite, tail = self._verbs()
        if not front:
            return join(self._subject(), finite, self._reflexive(), self._middle(), tail)
        return join(front, finite, self._inverted(), self._middle(), tail)

    def question(self) -> str:
        """German clause with its verb first: a question, or after a subordinate clause."""
        finite, tail = self._verbs()
        return join(finite, self._inverted(), self._middle(), tail)

    def final(self, conjunction: str) -> str:
        """German subordinate clause, verb last."""
        return join(conjunction, self._subject(), self._reflexive(), self.verb_final())

    def verb_final(self) -> str:
        """The subordinate clause without conjunction and subject, as after a relative pronoun."""
        finite, tail = self._verbs()
        verb = self.predicate.verb
        joint = verb.joint if tail == verb.particle else " "
        end = f"{tail}{joint}{finite}" if tail else finite
        return join(self._middle(), end)

    def relative(self, pronoun: str) -> str:
        """German relative clause whose pronoun is the subject."""
        return join(pronoun, self._reflexive(), self.verb_final())

    def second(self) -> str:
        """German clause after `und`, its subject left out."""
        finite, tail = self._verbs()
        return join(finite, self._reflexive(), self._middle(), tail)

    def english(self, *, subject: bool = True) -> str:
        """English statement, with its subject or without."""
        first, rest = self._english_verbs()
        said = self.subject.english(subject=True) if subject else ""
        return join(said, first, self.adverb[1], rest, self.predicate.english)

    def english_question(self) -> str:
        """English question: does the doctor know."""
        first, rest = self._english_verbs()
        if not first:
            first = "did" if self._is_past() else ("does" if self._third() else "do")
            rest = self.predicate.verb.head[0]
        said = self.subject.english(subject=True)
        return join(first, said, self.adverb[1], rest, self.predicate.english)

    def _subject(self) -> str:
        return self.subject.german("nom")

    def _reflexive(self) -> str:
        return self.subject.reflexive if self.predicate.verb.reflexive else ""

    def _inverted(self) -> str:
        # A pronoun comes before the reflexive, a noun after it: ruhe ich mich aus, ruht sich ein
        # Mann aus.
        pair = (self._subject(), self._reflexive())
        return join(*(pair if self.subject.is_pronoun else pair[::-1]))

    def _middle(self) -> str:
        return join(self.adverb[0], self.predicate.german)

    def _verbs(self) -> Pair:
        """The finite verb, and what stands at the end of the clause."""
        verb = self.predicate.verb
        index = 2 if self.subject.plural else (0 if self.subject.person == 1 else 1)
        late = 4 if self.subject.plural else 3
        if self.passive:
            return _WERDEN[late if self._is_past() else index], verb.participle
        if self.modal:
            forms = self.modal.past if self._is_past() else self.modal.present
            return forms[self.subject.plural], verb.infinitive
        if self.tense == "future":
            return _WERDEN[index], verb.infinitive
        if self.tense in ("perfect", "pluperfect"):
            auxiliary = _SEIN if verb.with_sein else _HABEN
            return auxiliary[late if self.tense == "pluperfect" else index], verb.participle
        if self.tense == "past":
            return verb.preterite[self.subject.plural], verb.particle
        return verb.present[index], verb.particle

    def _english_verbs(self) -> Pair:
        """The first auxiliary, empty where there is none, and the other verbs."""
        base, third, preterite, participle, gerund = self.predicate.verb.head
        if self.passive:
            verbs = (self._be(), participle)
        elif self.modal:
            past, present = self.modal.english_past, self.modal.english[not self._third()]
            said = past if self._is_past() else present
            verbs = (said, base) if said in _AUXILIARIES else ("", f"{said} {base}")
        elif self.tense == "future":
            verbs = ("will", base)
        elif self.tense == "pluperfect":
            verbs = ("had", participle)
        elif base == "be":
            verbs = (self._be(), "")
        elif self._is_past():
            verbs = ("", preterite)
        elif self.progressive:
            verbs = (self._be(), gerund)
        else:
            verbs = ("", third if self._third() else base)
        return verbs

    def _be(self) -> str:
        plural = self.subject.english_plural
        if self._is_past():
            return "were" if plural else "was"
        if plural:
            return "are"
        return "am" if self.subject.person == 1 else "is"

    def _third(self) -> bool:
        return self.subject.person == 3 and not self.subject.english_plural

    def _is_past(self) -> bool:
        return self.tense in ("past", "perfect", "pluperfect")


def govern(verb: Verb, thing: Phrase) -> Predicate:
    """The verb with its object, in the case or after the preposition that it wants."""
    words = join(verb.preposition, thing.german(verb.case))
    said = thing.english()
    rest = verb.rest.replace("~", said) if "~" in verb.rest else join(verb.rest, said)
    return Predicate(verb, words, rest)


def infinitive(predicate: Predicate, reflexive: str = "sich") -> str:
    """German infinitive with zu, its complements before it."""
    verb = predicate.verb
    return join(reflexive if verb.reflexive else "", predicate.german, verb.zu_infinitive)


def english_infinitive(predicate: Predicate) -> str:
    """English infinitive without to."""
    return join(predicate.verb.head[0], predicate.english)


def join(*parts: str) -> str:
    """The parts that are not empty, with spaces between them."""
    return " ".join(part for part in parts if part)
