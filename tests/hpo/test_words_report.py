"""`hpo report --format ...`: the same report as Markdown, CSV, JSON and images."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from core.errors import MissingPackageError
from hpo.analysis.markup import Html, join, paragraphs, table, tag, term_list
from hpo.analysis.palette import bare_figure
from hpo.analysis.pictures import PictureError
from hpo.analysis.widgets import embed
from hpo.page_text import figures_of, markdown_of
from hpo.records import StudyRecord
from hpo.reporting import ReportError, write_as
from tests.hpo.analysis.made_study import made_study
from tests.hpo.made_records import record, trial

EVIL = '=HYPERLINK("x") <img onerror=alert(1)> [a](javascript:b) \x1b[31m `c` | **d**'


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    return made_study(tmp_path_factory.mktemp("forms"), trials=10)


def test_html_of_ours_becomes_markdown() -> None:
    content = join(
        (
            tag("p", "A ", tag("strong", "bold"), " word and ", tag("code", "x.y_z|w"), "."),
            tag("div", "skipped", class_="figure", id="figure-a", role="img"),
            Html('<script type="application/json" class="data">{"data": []}</script>'),
            tag("p", tag("span", "●", aria_hidden="true"), tag("span", "name"), tag("b", "7")),
            table("Best", ("a|b", "n"), [("one", 2), (tag("strong", "three"), "4|5")]),
            tag("ul", tag("li", "first"), tag("li", "second")),
            term_list([("key", "value"), ("other", 3)]),
            tag("details", tag("summary", "more"), tag("pre", tag("code", "hpo run\n  x"))),
            tag("h3", "Below"),
        )
    )
    assert markdown_of("t", [("S", content)]).split("\n\n") == [
        "# t",
        "## S",
        "A **bold** word and `x.y_z|w`.",
        "name 7",
        "**Best**",
        "| a\\|b | n |\n|---|---|\n| one | 2 |\n| **three** | 4\\|5 |",
        "- first\n- second\n- key: value\n- other: 3",
        "**more**",
        "```\nhpo run\n  x\n```",
        "### Below\n",
    ]
    assert figures_of([("S", content)]) == {"a": {"data": []}}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<b> & &amp;", "\\<b\\> & \\&amp;"),
        ("[x](y) ![z](w)", "\\[x\\](y) !\\[z\\](w)"),
        ("# head", "\\# head"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("a_b _c_ *d*", "a_b \\_c\\_ \\*d\\*"),
        ("a\\b", "a\\\\b"),
        ("\x1b[0m", "\\\\x1b\\[0m"),
    ],
)
def test_no_text_is_read_as_markup(text: str, written: str) -> None:
    assert markdown_of("t", [("S", paragraphs([text]))]) == f"# t\n\n## S\n\n{written}\n"


def test_the_markdown_has_the_words_of_the_page(study: StudyRecord, tmp_path: Path) -> None:
    (path,) = write_as(study, "markdown", tmp_path / "new" / "report.md")
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {study.name}: report\n")
    assert "## Trials" in text
    assert "**All trials**" in text
    assert "<" not in text.replace("\\<", "")
    assert all(
        f"\n| {one.number} " in text or f"| **{one.number} " in text for one in study.trials
    )


def test_the_table_has_a_row_a_trial_and_no_formula(tmp_path: Path) -> None:
    trials = (
        trial(0, parameters={EVIL: EVIL, "model.num_layers": 3}),
        trial(1, "failed", None, reason=EVIL),
        trial(2, "pruned", float("nan")),
    )
    (path,) = write_as(record(*trials), "csv", tmp_path / "trials.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["value"] == "1.0"
    assert rows[2]["value"] == ""
    assert rows[1]["reason"] == rows[0][f"'{EVIL}"] == f"'{EVIL}"


def test_the_json_says_why_each_trial_lost_and_nothing_is_nan(
    study: StudyRecord, tmp_path: Path
) -> None:
    (path,) = write_as(study, "json", tmp_path / "report.json")
    told = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert told["schema_version"] == 1
    assert all(one["reasons"] for one in told["trials"])
    assert told["command"].startswith("python -m hpo run")
    assert {"name", "best", "answer", "importance", "trials", "metric"} <= told.keys()


def test_hostile_studies_have_a_report_in_every_form_of_text(tmp_path: Path) -> None:
    study = made_study(tmp_path / "made", trials=3, hostile=EVIL)
    for form in ("markdown", "csv", "json"):
        (path,) = write_as(study, form, tmp_path / form)
        text = path.read_text(encoding="utf-8")
        assert "\x1b" not in text or form == "csv"
        if form == "markdown":  # where code stands for itself
            assert "<" not in re.sub(r"`[^`]*`", "", text).replace("\\<", "")


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with a single figure, which is quick to draw."""
    figure = bare_figure("step", "score").add_scatter(x=[1, 2], y=[3, 5])
    content = str(embed("history", figure, "A line."))
    monkeypatch.setattr("hpo.reporting._sections", lambda _: [("Search", content)])


def test_without_kaleido_images_are_refused_in_a_line(
    study: StudyRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.analysis.pictures.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match="kaleido is not installed"):
        write_as(study, "png", tmp_path / "figures")


@pytest.mark.usefixtures("one_figure")
def test_without_a_browser_images_are_refused_in_a_line(
    study: StudyRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaleido = pytest.importorskip("kaleido")
    from kaleido.errors import ChromeNotFoundError

    def none_found(*_: object, **__: object) -> None:
        raise ChromeNotFoundError("a page of text\nof many lines")

    monkeypatch.setattr(kaleido, "write_fig_from_object_sync", none_found)
    with pytest.raises(PictureError, match="pictures need Chromium or Chrome, and none is found"):
        write_as(study, "png", tmp_path / "figures")
    assert not list((tmp_path / "figures").iterdir())


@pytest.mark.usefixtures("one_figure")
def test_images_are_drawn_of_the_figures(study: StudyRecord, tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    try:
        (path,) = write_as(study, "png", tmp_path / "figures")
    except PictureError as error:
        if "none is found" not in str(error):
            raise
        pytest.skip(str(error))
    assert path == tmp_path / "figures" / "history.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_one_line(study: StudyRecord, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="cannot be written"):
        write_as(study, "csv", tmp_path / "file" / "trials.csv")
