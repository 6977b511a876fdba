"""A stand-in for the hub's API on loopback: repositories, files in commits, large ones by LFS."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """What was put there, and what was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files by their SHA-256, in a commit or not yet."""
    uploads: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    tokens: set[str | None] = field(default_factory=set)
    refused: int = 0
    """So many uploads of large files are refused from now on."""


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve an empty hub."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, value: object, code: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(code)
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
            if "/tree/" in self.path:
                listed = [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in state.files.items()
                ]
                self.answer(listed)
            else:
                self.answer({"error": "not here"}, 404)

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
