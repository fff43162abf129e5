"""The fixed expressions of the talk register, German = English."""

from __future__ import annotations

from core.translation.pocket.phrases import ICH, SIE, WIR, Pair


def _pairs(text: str) -> tuple[Pair, ...]:
    pairs = (line.split(" = ") for line in text.strip().splitlines())
    return tuple((left.strip(), right.strip()) for left, right in pairs)


WHERE = _pairs("""
    in Afrika = in Africa
    in Kenia = in Kenya
    in Indien = in India
    in Berlin = in Berlin
    in Europa = in Europe
    auf der ganzen Welt = around the world
    in diesem Land = in this country
    in unserer Stadt = in our city
    an der Universität = at the university
    in vielen Ländern = in many countries
    im Internet = on the internet
    im Labor = in the lab
    auf dem Land = in the countryside
    an meiner Schule = at my school""")

WHEN = {
    "present": _pairs("""
        heute = today
        jeden Tag = every day
        jede Woche = every week
        jedes Jahr = every year
        im Moment = at the moment
        jeden Sommer = every summer"""),
    "past": _pairs("""
        gestern = yesterday
        letztes Jahr = last year
        vor {n} Jahren = {n} years ago
        vor {n} Wochen = {n} weeks ago
        im Jahr {y} = in {y}
        damals = back then
        im letzten Sommer = last summer
        nach {n} Tagen = after {n} days"""),
    "future": _pairs("""
        morgen = tomorrow
        nächstes Jahr = next year
        in {n} Jahren = in {n} years
        in Zukunft = in the future"""),
}
"""By tense; `{n}` is a number, `{y}` a year."""

OFTEN = _pairs("""
    oft = often
    immer = always
    nie = never
    selten = rarely
    manchmal = sometimes
    wirklich = really""")
"""What English says before its verb."""

COMMENTS = _pairs("""
    natürlich = of course,
    leider = unfortunately,
    deshalb = that is why
    trotzdem = nevertheless,
    vielleicht = maybe
    am Anfang = in the beginning,
    zum Glück = fortunately,
    in Wirklichkeit = in reality,""")
"""What takes the first place of a German main clause."""

JOINTS = _pairs("""
    und = and
    aber = but
    nun, = now,""")
"""What stands before a clause and leaves its order alone."""

THAT = _pairs("""
    ich glaube = I believe
    wir wissen = we know
    viele Menschen denken = many people think
    ich bin überzeugt = I am convinced
    die Studie zeigt = the study shows
    das bedeutet = this means
    wir haben gezeigt = we have shown
    ich hoffe = I hope
    es ist klar = it is clear
    meine Kollegin sagt = my colleague says
    niemand glaubt = nobody believes
    alle wissen = everyone knows""")

ASKING = _pairs("""
    die Frage ist = the question is
    niemand weiß = nobody knows
    ich frage mich oft = I often ask myself
    wir müssen verstehen = we have to understand
    ich möchte Ihnen erklären = I would like to explain to you
    das Modell zeigt uns = the model shows us""")

QUESTIONS = _pairs("""
    wie = how
    warum = why
    wann = when
    ob = whether""")

CONJUNCTIONS = _pairs("""
    weil = because
    obwohl = although
    bevor = before
    während = while
    bis = until""")
"""Those before `bevor` do with any tense."""

AIMS = (
    (WIR, "wir haben beschlossen", "we decided"),
    (ICH, "ich habe versucht", "I tried"),
    (WIR, "wir haben keine Zeit", "we have no time"),
    (ICH, "ich hatte die Möglichkeit", "I had the opportunity"),
    (WIR, "unser Ziel war es", "our goal was"),
    (ICH, "meine Aufgabe ist es", "my job is"),
    (SIE, "es ist schwierig", "it is difficult"),
    (SIE, "es ist wichtig", "it is important"),
)
"""Who is to do what follows with zu; German; English."""

DEGREES = (("", ""), ("sehr", "very"), ("zu", "too"), ("nicht", "not"))
NOT_ONLY = ("nicht nur", "not only")
NUMBERS = (3, 5, 7, 8, 10, 12, 15, 18, 20, 21, 25, 27, 32, 34, 43, 46, 52, 58, 64, 75, 86, 99)
