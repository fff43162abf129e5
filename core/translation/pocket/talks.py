"""The talk register: longer sentences of a speaker, in every tense, in plain English tenses."""

from __future__ import annotations

from core.translation.pocket import frames
from core.translation.pocket.clauses import (
    CAN,
    SEIN,
    Clause,
    Predicate,
    english_infinitive,
    infinitive,
    join,
)
from core.translation.pocket.draw import Draw
from core.translation.pocket.lexicon import Lexicon
from core.translation.pocket.phrases import ICH, WIR, Pair
from core.translation.pocket.speech import THINGS, Speech


class Talks:
    """Draws sentences of talks."""

    def __init__(self, draw: Draw, lexicon: Lexicon) -> None:
        self._draw = draw
        self._speech = Speech(draw, lexicon)
        self._adjectives = lexicon.adjectives["talk"]

    def sentence(self) -> Pair:
        """One sentence; without its final mark, unless that is a question mark."""
        plan = self._draw.weighted(
            (
                (12, self._told),
                (14, self._that),
                (13, self._if),
                (10, self._when),
                (12, self._reason),
                (8, self._purpose),
                (6, self._there_are),
                (7, self._asked),
                (7, self._met),
                (7, self._done),
                (6, self._percent),
                (5, self._question),
                (8, self._aim),
                (6, self._not_only),
                (7, self._judged),
            )
        )
        said = plan()
        if ", aber " not in said[0] and self._draw.chance(0.25):
            joint = self._draw.pick(frames.JOINTS)
            return f"{joint[0]} {said[0]}", f"{joint[1]} {said[1]}"
        return said

    # Plans

    def _told(self) -> Pair:
        kind = self._draw.pick(("past", "past", "present", "modal", "future"))
        said = self._fronted(self._speech.clause(kind, where=0.6, often=0.2))
        return self._and(said, kind) if self._draw.chance(0.7) else said

    def _that(self) -> Pair:
        frame = self._draw.pick(frames.THAT)
        kind = self._draw.pick(("present", "modal", "modal", "future"))
        clause = self._speech.clause(kind, where=0.4, often=0.2)
        said = (f"{frame[0]}, {clause.final('dass')}", f"{frame[1]} that {clause.english()}")
        return self._because(said) if self._draw.chance(0.6) else said

    def _if(self) -> Pair:
        condition = self._speech.condition()
        result = self._speech.clause(self._draw.pick(("modal", "future")), where=0.4)
        said = (
            f"{condition.final('wenn')}, {result.question()}",
            f"if {condition.english()}, {result.english()}",
        )
        return self._because(said) if self._draw.chance(0.2) else said

    def _when(self) -> Pair:
        after = self._draw.chance(0.4)
        first = self._speech.clause("pluperfect" if after else "past", where=0.4)
        then = self._speech.clause("past", where=0.3)
        conjunction = ("nachdem", "after") if after else ("als", "when")
        return (
            f"{first.final(conjunction[0])}, {then.question()}",
            f"{conjunction[1]} {first.english()}, {then.english()}",
        )

    def _reason(self) -> Pair:
        kind = self._draw.pick(("past", "past", "present", "modal"))
        clause = self._speech.clause(kind, where=0.4, often=0.15)
        return self._because(self._fronted(clause), kind)

    def _purpose(self) -> Pair:
        kind = self._draw.pick(("past", "modal", "present"))
        clause = Clause(self._speech.subject(), self._speech.predicate(0.3), tense="perfect")
        if kind == "modal":
            clause = Clause(clause.subject, clause.predicate, modal=CAN)
        aim = self._speech.predicate()
        doing = join(aim.verb.head[4], aim.english)
        conjunction, said = self._draw.pick(
            (
                ("um", f"to {english_infinitive(aim)}"),
                ("um", f"to {english_infinitive(aim)}"),
                ("ohne", f"without {doing}"),
                ("statt", f"instead of {doing}"),
            )
        )
        first = self._fronted(clause)
        return (
            f"{first[0]}, {conjunction} {infinitive(aim, clause.subject.reflexive)}",
            f"{first[1]} {said}",
        )

    def _there_are(self) -> Pair:
        group = self._draw.pick(("official", "official", *THINGS))
        thing = self._speech.phrase(group, "indefinite", plural=self._draw.chance(0.7))
        relative = self._speech.relative(thing, group)
        there = "there are" if thing.english_plural else "there is"
        said = (
            f"es gibt {thing.german('acc')}, {relative[0]}",
            f"{there} {thing.english()} {relative[1]}",
        )
        return self._and(said, "modal") if self._draw.chance(0.3) else said

    def _asked(self) -> Pair:
        frame = self._draw.pick(frames.ASKING)
        word = self._draw.pick(frames.QUESTIONS)
        clause = self._speech.clause("modal", modal=CAN, where=0.4)
        said = (
            f"{frame[0]}, {clause.final(word[0])}",
            f"{frame[1]} {word[1]} {clause.english()}",
        )
        return self._because(said) if self._draw.chance(0.4) else said

    def _met(self) -> Pair:
        clause, person = self._speech.meeting()
        when = self._speech.time("past")
        relative = self._speech.relative(person, "official")
        return (
            f"{clause.main(front=when[0])}, {relative[0]}",
            f"{when[1]}, {clause.english()} {relative[1]}",
        )

    def _done(self) -> Pair:
        tense = self._draw.pick(("present", "past"))
        clause = self._speech.passive(tense)
        when = self._speech.time(tense)
        said = (clause.main(front=when[0]), f"{when[1]}, {clause.english()}")
        return self._because(said, tense) if self._draw.chance(0.5) else said

    def _percent(self) -> Pair:
        tense = self._draw.pick(("present", "past"))
        clause = Clause(self._speech.share(), self._speech.predicate(0.2), tense)
        return self._because((clause.main(), clause.english()), tense)

    def _question(self) -> Pair:
        kind = self._draw.pick(("present", "modal", "past"))
        clause = self._speech.clause(kind, modal=CAN, where=0.6)
        if self._draw.chance(0.4):
            return f"{clause.question()}?", f"{clause.english_question()}?"
        word = self._draw.pick(frames.QUESTIONS[:3])
        return f"{word[0]} {clause.question()}?", f"{word[1]} {clause.english_question()}?"

    def _aim(self) -> Pair:
        who, frame, said = self._draw.pick(frames.AIMS)
        aim = self._speech.predicate(0.4)
        pair = (
            f"{frame}, {infinitive(aim, who.reflexive)}",
            f"{said} to {english_infinitive(aim)}",
        )
        return self._because(pair) if self._draw.chance(0.7) else pair

    def _not_only(self) -> Pair:
        first, second = self._speech.deed(), self._speech.deed()
        subject = self._draw.pick((ICH, WIR))
        clause = Clause(subject, first, "perfect", adverb=frames.NOT_ONLY)
        more = join(second.verb.head[2], second.english)
        return (
            f"{clause.main()}, sondern auch {join(second.german, second.verb.participle)}",
            f"{clause.english()} but also {more}",
        )

    def _judged(self) -> Pair:
        group = self._draw.pick(("issue", "plan", "tool", "text"))
        thing = self._speech.phrase(group, "definite", attributed=True)
        adjective = self._draw.word(self._adjectives)
        degree = self._draw.pick(frames.DEGREES)
        judgement = (join(degree[0], adjective.base), join(degree[1], adjective.english))
        tense = self._draw.pick(("present", "past"))
        clause = Clause(thing, Predicate(SEIN, *judgement), tense)
        return self._and((clause.main(), clause.english()), tense)

    # What is put before or after a clause

    def _fronted(self, clause: Clause) -> Pair:
        """The clause as a main clause, its subject first half of the time."""
        roll = self._draw.below(4)
        if roll == 0:
            comment = self._draw.pick(frames.COMMENTS)
            return clause.main(front=comment[0]), f"{comment[1]} {clause.english()}"
        if roll == 1 and not clause.adverb[0]:
            tense = "past" if clause.tense in ("past", "perfect") else clause.tense
            when = self._speech.time(tense)
            return clause.main(front=when[0]), f"{when[1]}, {clause.english()}"
        return clause.main(), clause.english()

    def _because(self, said: Pair, tense: str = "present") -> Pair:
        past = tense == "past"
        conjunction = self._draw.pick(frames.CONJUNCTIONS if past else frames.CONJUNCTIONS[:2])
        kind = "past" if past else self._draw.pick(("present", "modal"))
        clause = self._speech.clause(kind)
        return (
            f"{said[0]}, {clause.final(conjunction[0])}",
            f"{said[1]} {conjunction[1]} {clause.english()}",
        )

    def _and(self, said: Pair, tense: str) -> Pair:
        joint = self._draw.pick(frames.JOINTS[:2])
        clause = self._speech.clause(tense)
        return (
            f"{said[0]}, {joint[0]} {clause.main()}",
            f"{said[1]}, {joint[1]} {clause.english()}",
        )
