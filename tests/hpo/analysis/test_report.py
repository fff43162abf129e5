import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made_study import NMSE, ONE_STAGE, made_study
from plotly.offline import get_plotlyjs

from hpo.analysis import courses, importance
from hpo.analysis.report import render, write_report

HOSTILE = '</script></style><img src=https://example.org/x onerror="alert(1)">\'&lt;{{%{x}\ud800'
VOID = {"meta", "br", "input"}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Whiskers are test_importance's; here they would only take time."""
    monkeypatch.setattr(importance, "RESAMPLES", 1)
    monkeypatch.setattr(importance, "TREES", 4)


class Page(HTMLParser):
    """What a browser would make of the page: elements with attributes, and texts by element."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self._open = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self._open.append(name)

    def handle_endtag(self, name):
        assert self._open.pop() == name, f"</{name}> closes another element"

    def handle_data(self, text):
        self.texts.append((self._open[-1] if self._open else "", text))

    def text(self):
        return " ".join(text for name, text in self.texts if name not in ("script", "style"))

    def figures(self):
        """The figures' JSON; reading it proves that nothing in it ended its element early."""
        data = [
            text for name, text in self.texts if name == "script" and text.startswith('{"data"')
        ]
        return [json.loads(text) for text in data]


def page_of(record):
    return Page(write_report(record).read_text(encoding="utf-8"))


def test_the_report_holds_every_section_in_order(tmp_path):
    record = made_study(tmp_path)
    assert write_report(record) == tmp_path / "report.html"
    page = page_of(record)
    anchors = [a["id"] for name, a in page.elements if name == "section"]
    assert anchors == [
        "answer", "search", "importance", "stability", "ladder", "trials", "translations",
        "settings",
    ]  # fmt: skip
    links = [a["href"] for name, a in page.elements if name == "a" and "class" not in a]
    assert links == [f"#{anchor}" for anchor in anchors]
    assert [a["id"] for _, a in page.elements if a.get("class") == "figure"] == [
        "figure-history", "figure-history-time", "figure-curves", "figure-timeline",
        "figure-spent", "figure-pruning", "figure-importance-all", "figure-importance-finetune",
        "figure-importance-model", "figure-importance-groups", "figure-slice-0", "figure-slice-1",
        "figure-contour", "figure-collapse", "figure-gradients", "figure-gradients-each",
        "figure-spikes", "figure-rates", "figure-ladder-depth",
    ]  # fmt: skip
    assert len(page.figures()) == 19
    said = page.text()
    assert "than the start configuration's" in said
    assert "loss became NaN at step 83" in said
    assert record.readings[0].signature in said
    assert "Three kids are playing." in said
    assert "13 pairs stand twice" in said
    assert "python -m hpo run --study" in said


def test_the_report_goes_where_it_is_told_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "new folder" / "page.html"
    for name in ("first", "second"):
        assert write_report(made_study(tmp_path, trials=1, name=name), path) == path
        assert f"<title>{name}: report</title>" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize("hostile", ["", HOSTILE], ids=["usual", "hostile"])
def test_the_page_loads_nothing(tmp_path, hostile):
    page = page_of(made_study(tmp_path, hostile=hostile))
    for name, attributes in page.elements:
        assert name not in ("img", "link", "iframe", "object", "embed", "base", "form", "video")
        assert not {"src", "srcset", "style", "action", "data", "background"} & set(attributes)
        assert not [key for key in attributes if key.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
    policy = next(
        a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    ours = [text for name, text in page.texts if name in ("script", "style")]
    ours.remove(get_plotlyjs())
    for text in ours:
        # A hostile text may name an address; only in data, where nothing follows it.
        assert hostile or not re.search(r"https?://|url\(|@import", text)


def test_hostile_texts_stay_texts(tmp_path):
    record = made_study(tmp_path, hostile=HOSTILE)
    page = page_of(record)
    shown = HOSTILE.replace("\ud800", "?")
    assert f"made{shown}" in page.text()  # the study's name
    assert page.text().count(shown) > 20  # parameters, reasons, notes, sentences, signature
    scripts = [a for name, a in page.elements if name == "script"]
    assert len(scripts) == len(page.figures()) + 4  # trials, colours, plotly, the page's own
    texts = json.dumps(page.figures()).replace("\\ud800", "?")
    assert "<img" not in texts  # plotly reads markup in texts, so it is escaped twice
    assert "&lt;img" in texts


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"trials": 0}, "No trial has finished yet."),
        ({"trials": 2, "states": {0: "running", 1: "paused"}}, "No trial has finished yet."),
    ],
)
def test_a_study_without_a_finished_trial_gives_a_page_that_says_so(tmp_path, plan, sentence):
    page = page_of(made_study(tmp_path, **plan))
    assert sentence in page.text()
    assert page.figures() == []
    assert "search" not in [a.get("id") for _, a in page.elements]


def test_a_study_whose_trials_all_failed_gives_a_page(tmp_path):
    states = dict.fromkeys(range(3), "failed")
    said = page_of(made_study(tmp_path, trials=3, states=states)).text()
    assert "No trial is complete: all 3 that finished were pruned or failed." in said
    assert "No trial reached its first evaluation." in said
    assert "No trial has left telemetry with gradient norms." in said


@pytest.mark.parametrize(
    "plan",
    [
        {"trials": 1},
        {"metric": NMSE, "grid": ONE_STAGE},
        {"with_texts": False, "with_telemetry": False},
        {"enqueue_start": False, "same_score": True},
    ],
    ids=str,
)
def test_the_page_is_whole_whatever_is_missing(tmp_path, plan):
    page = page_of(made_study(tmp_path, **plan))
    said = page.text()
    assert "Answer" in said
    assert not {"nan", "None"} & {text.strip() for _, text in page.texts}
    assert ("BLEU" in said) == (plan.get("metric") is None)


def test_tables_are_captioned_reachable_and_headed(tmp_path):
    page = page_of(made_study(tmp_path))
    names = [name for name, _ in page.elements]
    assert names.count("table") == names.count("caption") > 5
    regions = [a for name, a in page.elements if name == "div" and a.get("role") == "region"]
    assert len(regions) == names.count("table")
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)
    heads = [a for name, a in page.elements if name == "th"]
    assert all(a["scope"] in ("row", "col") for a in heads)
    assert next(a for name, a in page.elements if name == "html")["lang"] == "en"


def test_every_colour_of_a_figure_has_a_partner_on_a_dark_page(tmp_path):
    page = page_of(made_study(tmp_path))
    partners = next(json.loads(t) for _, t in page.texts if t.startswith('{"#'))
    for figure in page.figures():
        for colour in re.findall(r'"(#[0-9a-f]{6}|rgba\([^"]*\))"', json.dumps(figure)):
            assert colour in partners or colour == "rgba(0,0,0,0)"


def test_a_page_does_not_grow_with_the_steps_of_its_trials(tmp_path, monkeypatch):
    """Its size for 1,000 trials is measured by benchmarks/report_page.py: docs/log.md."""
    monkeypatch.setattr(courses, "ALL_POINTS", 600)
    sizes = [
        len(render(made_study(tmp_path / str(steps), trials=5, telemetry_steps=steps)))
        for steps in (200, 2_000)
    ]
    assert sizes[1] < 1.02 * sizes[0]
    assert sizes[1] < len(get_plotlyjs()) + 250_000


def test_the_analysis_does_not_import_torch():
    script = "import sys, hpo.analysis.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_without_a_reason_no_column_is_kept_for_one(tmp_path):
    record = made_study(tmp_path)
    assert 'class="reason"' in render(record)
    plain = replace(
        record, trials=tuple(replace(one, reason="", health={}) for one in record.trials)
    )
    assert 'class="reason"' not in render(plain)
