"""A stand-in for the hub's API on loopback: repositories, files in commits, large ones by LFS."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants


@dataclass
class Hub:
    """What was put there, and what was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files by their SHA-256, in a commit or not yet."""
    uploads: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    tokens: set[str | None] = field(default_factory=set)
    refused: int = 0
    """So many uploads of large files are refused from now on."""


@contextmanager
def served_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve an empty hub to whatever asks the hub."""
    with _hub() as served:
        url = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield served


@contextmanager
def _hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(
            self, value: object, code: int = 200, headers: Mapping[str, str] | None = None
        ) -> None:
            content = json.dumps(value).encode()
            self.send_response(code)
            for name, said in (headers or {}).items():
                self.send_header(name, said)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if not path.startswith(("/api/datasets/someone/", "/datasets/someone/")):
                self.missing("Repo")
            elif "/tree/" in path:
                self.answer_tree(path.partition("/tree/")[2].partition("/")[2])
            elif "/resolve/" in path:
                self.answer_file(path.partition("/resolve/")[2].partition("/")[2])
            else:
                self.answer({"id": "someone/set20x", "sha": "0" * 40, "siblings": []})

        def missing(self, what: str) -> None:
            self.answer({"error": "not here"}, 404, {"X-Error-Code": f"{what}NotFound"})

        def answer_tree(self, folder: str) -> None:
            inside = f"{folder}/" if folder else ""
            known = [name for name in state.files if name.startswith(inside)]
            if folder and not known:
                self.missing("Entry")
                return
            here = {name for name in known if "/" not in name.removeprefix(inside)}
            recursive = "recursive=true" in self.path.lower()
            files = [self.entry(name) for name in (known if recursive else sorted(here))]
            heads = {inside + n.removeprefix(inside).partition("/")[0] for n in {*known} - here}
            self.answer(files + [{"type": "directory", "path": n, "oid": "0" * 40} for n in heads])

        def entry(self, name: str) -> dict[str, object]:
            content = state.files[name]
            oid = hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
            return {"type": "file", "path": name, "size": len(content), "oid": oid}

        def answer_file(self, name: str) -> None:
            if name not in state.files:
                self.missing("Entry")
                return
            content, asked = state.files[name], self.headers.get("Range", "")
            first, last = (asked.removeprefix("bytes=") or "0-").split("-")
            part = content[int(first) : int(last or len(content)) + 1]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.end_headers()
            self.wfile.write(part)
            state.fetched.append(name)

        def do_PUT(self) -> None:
            content = self.body()
            if state.refused:
                state.refused -= 1
                self.answer({"error": "refused"}, 403)
                return
            sha256 = self.path.rpartition("/")[2]
            assert hashlib.sha256(content).hexdigest() == sha256
            state.stored[sha256] = content
            state.uploads.append(sha256)
            self.answer({})

        def do_POST(self) -> None:
            body = self.body()
            if self.path.startswith("/api/"):
                state.tokens.add(self.headers.get("Authorization"))
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                kind = asked.get("type", "model")
                state.kinds.add(kind)
                prefix = "datasets/" if kind == "dataset" else ""
                name = f"{asked['organization']}/{asked['name']}"
                self.answer({"url": f"{state.address}/{prefix}{name}"})
            elif "/paths-info/" in self.path:
                paths = parse_qs(body.decode())["paths"]
                self.answer([self.entry(name) for name in paths if name in state.files])
            elif self.path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                self.answer({"files": [self.mode(file) for file in json.loads(body)["files"]]})
            elif self.path.endswith("/info/lfs/objects/batch"):
                self.answer({"objects": [self.action(o) for o in json.loads(body)["objects"]]})
            elif "/commit/main" in self.path:
                for line in body.decode().splitlines():
                    self.commit(**json.loads(line))
                url = state.address + self.path.removeprefix("/api").removeprefix("/models")
                self.answer(
                    {"commitUrl": url.replace("/main", "/" + "0" * 40), "commitOid": "0" * 40}
                )
            else:
                self.answer({"error": self.path}, 404)

        def mode(self, file: dict[str, str]) -> dict[str, object]:
            large = file["path"].endswith((".arrow", ".safetensors"))
            mode = "lfs" if large else "regular"
            return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

        def action(self, asked: dict[str, object]) -> dict[str, object]:
            oid = str(asked["oid"])
            if oid in state.stored:
                return asked
            return {**asked, "actions": {"upload": {"href": f"{state.address}/upload/{oid}"}}}

        def commit(self, key: str, value: dict[str, str]) -> None:
            if key == "file":
                state.files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                state.files[value["path"]] = state.stored[value["oid"]]
            elif key == "deletedFile":
                del state.files[value["path"]]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
