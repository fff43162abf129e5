import pytest

from core.task import Metric
from hpo.analysis.formats import ScoreFormat, count, decimals_for, duration, value_text
from hpo.analysis.markup import Html, table, tag
from hpo.analysis.palette import OUTCOMES, dark_colours, ramp


def test_what_is_not_markup_is_escaped_in_children_and_attributes():
    assert tag("p", "<b>&") == "<p>&lt;b&gt;&amp;</p>"
    assert tag("p", tag("b", "x"), title='"><i>') == '<p title="&quot;&gt;&lt;i&gt;"><b>x</b></p>'
    assert tag("a", class_="c", aria_label="d", id=None) == '<a class="c" aria-label="d"></a>'
    assert isinstance(tag("p"), Html)


def test_a_table_has_a_caption_and_headers_for_rows_and_columns():
    made = table(
        "Words <", ("a", "b"), [("x", 1), ("y", tag("td", "z", class_="own"))], numeric=[1]
    )
    assert "<caption>Words &lt;</caption>" in made
    assert made.count('scope="col"') == 2
    assert made.count('scope="row"') == 2
    assert '<td class="number">1</td>' in made
    assert '<td class="own">z</td>' in made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "true"),
        (3, "3"),
        (1e-4, "0.0001"),
        (3.21987e-05, "3.22e-5"),
        (2.5e10, "2.5e+10"),
        ("pre", "pre"),
        ([2, 3.5], "2, 3.5"),
        ([], "–"),
    ],
)
def test_values_are_short(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


def test_scores_carry_name_unit_and_sense():
    nmse = ScoreFormat(Metric("NMSE", "dB", "minimize", 0.0), 2)
    assert nmse.named(-38.204) == "NMSE -38.20 dB"
    assert nmse.axis == "NMSE (dB, lower is better)"
    bleu = ScoreFormat(Metric("BLEU", "", "maximize", 0.0), 1)
    assert bleu.named(30.31) == "30.3 BLEU"
    assert bleu.text(float("nan")) == "–"


@pytest.mark.parametrize(
    ("scores", "decimals"), [([0.5, 30.3], 2), ([1.5], 3), ([0.11, 0.9], 4), ([], 4), ([-38.2], 2)]
)
def test_small_scores_show_more_decimals(scores, decimals):
    assert decimals_for(scores) == decimals


def test_counts_agree_with_their_noun():
    assert [count(n, "trial") for n in (0, 1, 1234)] == ["0 trials", "1 trial", "1,234 trials"]


def _luminance(colour):
    def linear(channel):
        value = int(channel, 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(colour[i : i + 2]) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_marks_stand_out_from_both_pages():
    # 3:1 is what WCAG 2 asks of graphics; 1.4.11.
    dark = dark_colours()
    for look in OUTCOMES.values():
        assert _contrast(look.colour, "#ffffff") >= 3
        assert _contrast(dark[look.colour], "#12161c") >= 3
    assert len({look.symbol for look in OUTCOMES.values()}) == len(OUTCOMES)


@pytest.mark.parametrize("steps", [1, 2, 9, 12])
def test_the_ramp_runs_from_end_to_end(steps):
    colours = ramp(steps)
    assert len(colours) == steps
    assert set(colours) <= set(dark_colours())
    if steps > 1:
        assert (colours[0], colours[-1]) == (ramp(9)[0], ramp(9)[-1])
