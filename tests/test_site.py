"""The documentation site: builds without a warning, has the reference, fetches nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_FETCHED = re.compile(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\s\">]+)|<link ([^>]*)>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_it_has_a_reference_made_of_the_program(site: Path) -> None:
    said = {page.stem: page.read_text("utf-8") for page in (site / "reference").glob("*.html")}
    assert "--allow-edits" in said["command-line"]
    assert "cache prune" in said["command-line"]
    assert re.search(r"<code>trials</code>.*?integer, ≥ 1", said["study"], re.DOTALL)
    assert "<code>parameters</code>" in said["search-space"]
    assert "warm_start" in said["python"]


def test_every_page_of_the_folder_is_there_and_fetches_nothing(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert pages >= {
        page.relative_to(ROOT / "docs").with_suffix("") for page in ROOT.glob("docs/**/*.md")
    }
    for path in site.rglob("*.html"):
        for source, link in _FETCHED.findall(path.read_text("utf-8")):
            is_fetched = source or 'rel="canonical"' not in link
            assert not (is_fetched and "//" in (source or link)), (path, source, link)
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(\"?(https?:)?//", path.read_text("utf-8")), path
