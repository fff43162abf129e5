"""The wheel works in an empty folder, and the pinned versions fit the declared ranges."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n")
    if line and not line.startswith("#")
]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unpacked wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def _hpo(unpacked: Path, here: Path, *words: str) -> str:
    """What the command of the unpacked wheel prints in the folder `here`."""
    done = subprocess.run(
        [sys.executable, "-m", "hpo", *words],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_core_and_hpo_and_nothing_else(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"core", "hpo"}


def test_the_wheel_finds_its_studies_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    checked = _hpo(unpacked, tmp_path, "validate")
    for kind, folder in (("study", "studies"), ("search space", "search_spaces")):
        shipped = {path.stem for path in (ROOT / folder).glob("*.toml")}
        assert shipped
        found = re.findall(rf"^{kind} ([\w.-]+):", checked, flags=re.MULTILINE)
        assert set(found) == shipped
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_said_once_and_the_same(unpacked: Path, tmp_path: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    (version,) = re.findall(r"^Version: (.+)$", metadata.read_text(encoding="utf-8"), re.MULTILINE)
    assert _hpo(unpacked, tmp_path, "--version") == f"hpo {version}\n"


def test_every_pin_is_a_name_and_a_version() -> None:
    """No host, path, platform or build: each machine finds its own."""
    wrong = [pin for pin in PINS if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", pin)]
    assert not wrong
    names = [pin.partition("==")[0] for pin in PINS]
    assert sorted(set(names)) == names


def test_every_dependency_is_pinned_within_its_range() -> None:
    pinned = dict(pin.split("==") for pin in PINS)
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, declared):
        version = Version(pinned[canonicalize_name(requirement.name)])
        assert version in requirement.specifier, str(requirement)
