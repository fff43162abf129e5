"""Dashboard and report in Chromium: figures drawn, nothing fetched elsewhere, text as text."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
import pytest

from hpo import attributes
from hpo.storage import locate
from tests.end_to_end.command import Running, hpo

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
Study = tuple[Path, subprocess.CompletedProcess[str]]

HOSTILE = (
    "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
    '"\'><svg onload=window.hit=1> \x1b[31m =HYPERLINK("http://evil.example")'
)
SHOWN = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
PLAIN = "plain_study"
_LONG_MS = 60_000
"""For a busy machine; nothing waits so long where all is well."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or whatever is called so; skips the tests where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--disable-gpu"])
        yield opened
        opened.close()


class Visit:
    """A page that remembers what went wrong on it and what it asked for."""

    def __init__(self, browser: Any, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(_LONG_MS)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda said: self._note(said.type, said.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.context.route("**/*", self._look)

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    def _look(self, route: Any) -> None:
        parts = urlsplit(route.request.url)
        if parts.scheme in ("file", "data", "blob") or parts.hostname == "127.0.0.1":
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def marks(self, figure: str) -> int:
        """Drawn marks below an element: points, bars and lines of plotly."""
        return int(self.page.locator(f"{figure} .point, {figure} .js-line").count())

    def check(self) -> None:
        """Nothing went wrong, nothing left the machine, nothing hostile ran."""
        assert self.errors == []
        assert self.foreign == []
        assert self.page.evaluate("window.hit") is None
        self.context.close()


@pytest.fixture(scope="module")
def hostile(tiny_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny study's folder in which whatever is text is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(tiny_study[0] / "runs", folder / "runs", dirs_exist_ok=True)
    storage = locate(None, folder / "runs").open_for_request()
    found = optuna.load_study(study_name="depth_sweep", storage=storage)
    declaration = found.user_attrs[attributes.DECLARATION]
    found.set_user_attr(attributes.DECLARATION, {**declaration, "description": HOSTILE})
    optuna.create_study(study_name=HOSTILE, storage=storage)
    plain = optuna.create_study(study_name=PLAIN, storage=storage)
    for value in range(3):
        trial = plain.ask()
        trial.suggest_categorical(HOSTILE, [HOSTILE, "b"])
        trial.set_user_attr(HOSTILE, HOSTILE)
        plain.tell(trial, value)
    for file in (folder / "runs" / "depth_sweep" / "trials").glob("*/artifacts/*.validation.*"):
        lines, line = file.read_text("utf-8").split("\n"), HOSTILE.replace("\n", " ")
        # Of the outputs the first: the page shows those first that differ most from another's.
        changed = len(lines) - 1 if file.name.endswith(".src") else 1
        file.write_text("\n".join([*[line] * changed, *lines[changed:]]), "utf-8")
    for file in (folder / "runs" / ".artifacts").iterdir():
        first, *rest = file.read_text("utf-8").split("\n")
        file.write_text("\n".join([json.dumps(json.loads(first) | {"hyp": HOSTILE}), *rest]))
    assert hpo("report", "depth_sweep", cwd=folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def dashboard(hostile: Path) -> Iterator[str]:
    """The address that `hpo dashboard depth_sweep` prints, while it serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    serving = Running("dashboard", "depth_sweep", "--port", port, cwd=hostile)
    try:
        serving.enter()
        yield serving.errors.read_text("utf-8").split()[2].rstrip(";")
    finally:
        serving.end()


def root_of(address: str) -> str:
    return f"http://{urlsplit(address).netloc}"


def test_the_dashboard_draws_the_study_s_figures(browser: Any, dashboard: str) -> None:
    visit = Visit(browser, viewport={"width": 1440, "height": 900})
    page = visit.page
    page.goto(dashboard)
    assert "token" not in page.url
    page.get_by_text("depth_sweep").first.wait_for()
    for name in ("gradient-norms", "timeline", "stability-map"):
        place = f"[id='user-defined-plot:{name}']"
        page.locator(f"{place} .main-svg").first.wait_for()
        assert visit.marks(place) >= 2, name
    visit.check()


def test_a_trial_has_its_note_and_its_samples(browser: Any, dashboard: str) -> None:
    visit = Visit(browser, viewport={"width": 1440, "height": 900})
    visit.page.goto(dashboard)
    visit.page.goto(f"{visit.page.url.rstrip('/')}/trials?numbers=0")
    visit.page.get_by_text("health: ").first.wait_for()
    visit.page.get_by_text("samples of trial 0.jsonl").first.wait_for()
    visit.check()


@pytest.mark.parametrize("place", ["/dashboard", "trials", "analytics"])
def test_the_dashboard_shows_hostile_text_as_text(
    browser: Any, dashboard: str, place: str
) -> None:
    visit = Visit(browser)
    page = visit.page
    page.goto(dashboard)
    if place == "/dashboard":
        page.goto(f"{root_of(dashboard)}{place}")
    else:
        studies = page.request.get(f"{root_of(dashboard)}/api/studies").json()["study_summaries"]
        number = next(one["study_id"] for one in studies if one["study_name"] == PLAIN)
        page.goto(f"{root_of(dashboard)}/dashboard/studies/{number}/{place}")
    page.get_by_text(SHOWN).first.wait_for()
    visit.check()


def test_a_page_of_another_site_cannot_read_the_dashboard(
    browser: Any, dashboard: str, tmp_path: Path
) -> None:
    visit = Visit(browser)
    visit.page.goto(dashboard)
    page = tmp_path / "evil.html"
    page.write_text(
        f"<script>fetch('{root_of(dashboard)}/api/studies', {{credentials: 'include'}})"
        ".then(() => document.title = 'read', () => document.title = 'refused')</script>"
    )
    visit.page.goto(page.as_uri())
    visit.page.wait_for_function("document.title")
    assert visit.page.title() == "refused"
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_draws_its_figures_and_shows_text_as_text(
    browser: Any, hostile: Path, scheme: str
) -> None:
    visit = Visit(browser, color_scheme=scheme)
    page = visit.page
    page.goto((hostile / "runs" / "depth_sweep" / "report.html").as_uri())
    page.locator(".js-plotly-plot").first.wait_for()
    figures = page.locator(".js-plotly-plot")
    assert figures.count() >= 3
    for index in range(figures.count()):
        figures.nth(index).scroll_into_view_if_needed()
    assert visit.marks("body") >= 6
    assert page.get_by_text(SHOWN).count() >= 2  # the description, and the translations
    visit.check()
