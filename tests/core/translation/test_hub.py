"""The hub's corpora, read for real from a small hub on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError
from core.translation import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MULTI30K, IWSLT = "bentrevett/multi30k", "IWSLT/iwslt2017"
REVISIONS = {MULTI30K: ("main", COMMIT), IWSLT: ("refs/convert/parquet", COMMIT)}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def _flat(split: str, count: int) -> bytes:
    return _parquet([{"en": f"{split} dog {i}", "de": f"{split} Hund {i}"} for i in range(count)])


def _nested(part: str, count: int) -> list[dict[str, Any]]:
    sides = ({"de": f" {part} Rede {i}", "en": f"{part} talk\n{i} "} for i in range(count))
    return [{"translation": side} for side in sides]


FILES = {
    MULTI30K: {
        "README.md": b"# Multi30k\n",
        "data/train-00000-of-00001.parquet": _flat("train", 7),
        "data/validation-00000-of-00001.parquet": _flat("validation", 3),
        "data/test-00000-of-00001.parquet": _flat("test", 2),
    },
    IWSLT: {
        "iwslt2017-de-en/train/0000.parquet": _parquet(
            [*_nested("one", 4), {"translation": {"de": "", "en": "nothing said"}}]
        ),
        "iwslt2017-de-en/train/0001.parquet": _parquet(_nested("two", 3)),
        "iwslt2017-de-en/validation/0000.parquet": _parquet(_nested("three", 2)),
        "iwslt2017-de-en/test/0000.parquet": b"never to be read",
    },
}


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as reading public data sets needs."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.asked.append(path)
        for repository, files in FILES.items():
            api, content = f"/api/datasets/{repository}", f"/datasets/{repository}/resolve/"
            if path.startswith(f"{api}/tree/"):
                folder = self._below_revision(repository, path.removeprefix(f"{api}/tree/"))
                return self._say_json(_listing(files, folder))
            if path == api or path.startswith(f"{api}/revision/"):
                siblings = [{"rfilename": name} for name in files]
                return self._say_json({"id": repository, "sha": COMMIT, "siblings": siblings})
            if path.startswith(content):
                name = self._below_revision(repository, path.removeprefix(content))
                if name in files:
                    etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
                    return self._say(200, files[name], {"ETag": etag, "X-Repo-Commit": COMMIT})
                missing = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
                return self._say(404, b"", missing)
        return self._say(404, b"{}", {})

    def _below_revision(self, repository: str, path: str) -> str:
        for revision in REVISIONS[repository]:
            if path == revision or path.startswith(f"{revision}/"):
                return path.removeprefix(revision).strip("/")
        raise AssertionError(path)

    def _say_json(self, value: Any) -> None:
        self._say(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _listing(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    """The entries of a folder, not of those below it."""
    found: dict[str, dict[str, Any]] = {}
    for name, content in files.items():
        if not folder or name.startswith(f"{folder}/"):
            inner = name.removeprefix(f"{folder}/" if folder else "")
            path = "/".join(filter(None, (folder, inner.split("/")[0])))
            kind = "directory" if "/" in inner else "file"
            size = 0 if "/" in inner else len(content)
            found[path] = {"type": kind, "path": path, "size": size, "oid": COMMIT}
    return list(found.values())


@dataclass(frozen=True)
class Mirror:
    url: str
    asked: list[str]


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """The small hub, and the paths it is asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Hub,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield Mirror(f"http://127.0.0.1:{server.server_port}", asked)
    server.shutdown()
    thread.join()
    server.server_close()


CODE = """
import json, sys
from pathlib import Path
from core.errors import DataError
from core.translation.corpus import load_corpora
from core.translation.settings import TranslationData, TranslationProtocol
protocol = TranslationProtocol(pretrain_pairs=5)
try:
    corpora = load_corpora(protocol, TranslationData(source="hub"), Path(sys.argv[1]))
except DataError as error:
    print(error)
    sys.exit(2)
sets = {f"{c.name}.{s}": [p.src, p.tgt] for c in corpora.distinct for s, p in c.splits.items()}
print(json.dumps([sets, corpora.notes]))
"""


def _load(cache: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Loads the hub's corpora in a process of its own: the endpoint is read at import."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(cache / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", CODE, str(cache)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_both_corpora_from_parquet_files(mirror: Mirror, tmp_path: Path) -> None:
    done = _load(tmp_path, mirror.url)
    # Neither progress bars nor warnings.
    assert (done.returncode, done.stderr) == (0, ""), done
    sets, notes = json.loads(done.stdout)
    assert {name: len(sides[0]) for name, sides in sets.items()} == {
        "pretrain.train": 5,
        "pretrain.validation": 3,
        "pretrain.test": 2,
        "finetune.train": 7,
        "finetune.validation": 2,
    }
    assert sets["pretrain.test"] == [["test Hund 0", "test Hund 1"], ["test dog 0", "test dog 1"]]
    assert [side[4] for side in sets["finetune.train"]] == ["two Rede 0", "two talk 0"]
    assert notes == ["finetune: blank pairs left out of the training set: 1."]
    assert not any("iwslt2017-de-en/test/" in path for path in mirror.asked)

    # The second time the pairs lie in the cache, and no network is needed.
    again = _load(tmp_path, "http://127.0.0.1:9")
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")


def test_without_network_one_line_says_what_else_there_is(tmp_path: Path) -> None:
    start = time.monotonic()
    done = _load(tmp_path, "http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (2, "")
    [line] = done.stdout.splitlines()
    assert line.startswith(f"the corpus {MULTI30K} cannot be had from the Hugging Face hub (")
    assert line.endswith("Use --data pocket (built in) or --data FOLDER (files of your own).")
    # The libraries would retry for half a minute; most of this is importing them.
    assert time.monotonic() - start < 20


def test_other_languages_are_refused() -> None:
    with pytest.raises(DataError, match=r"German and English, got 'de-fr'\. .*--data FOLDER"):
        hub.read_corpus("pretrain", ("de", "fr"), {})


def test_a_damaged_copy_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"train": [("eins", "one"), ("", "two")], "validation": [("drei", "three")]}
    asked: list[str] = []
    monkeypatch.setattr(hub, "_fetch", lambda corpus, _: asked.append(corpus.loader) or answer)
    caps = {"train": None, "validation": None}
    read = {"train": [("eins", "one")], "validation": [("drei", "three")]}
    for damaged in (False, True, False):
        if damaged:
            [kept] = tmp_path.rglob("*.json")
            kept.write_text(kept.read_text().replace("eins", "zwei"))
        assert hub.read_corpus("finetune", ("de", "en"), caps, tmp_path)[0] == read
    assert asked == ["parquet", "parquet"]


def test_a_set_without_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_fetch", lambda *_: {"train": [("", "")]})
    with pytest.raises(DataError, match=r"bentrevett/multi30k: no pairs in the train set\."):
        hub.read_corpus("pretrain", ("de", "en"), {})
