"""Break what goes between a command and a store: a proxy before an S3 server injects faults."""

import http.client
import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Container, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

from tests.campaign.scene import NOT_COMPARED, Case, Command, Scene
from tests.campaign.scene import build as scene_build
from tests.s3_server import s3_server

SAME, NAMED = "the same in spite of it", "ended by name, the same when run again"
URL = "s3://bucket/whole"
JOBS: dict[str, Command] = {
    "build": scene_build("s3://bucket/new"),
    "push": ("augment.push", "set", "s3://bucket/new"),
    "check": ("augment.check", URL),
    "export": ("augment.export", URL, "new", "--to", "parquet"),
}
FAULTS = ("500", "503 slow down", "reset", "answer lost", "body cut", "body wrong")
BURSTS = (1, 1, 1, 1, 2, 2, 3, 5, 9, 1000)
"""Requests in a row that are broken; the last is a store that does not come back."""
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=S3RVER/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0",
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
}
"""The servers look for key and region alone."""
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
WRITES = ("PUT", "POST", "DELETE")
BEFORE, AFTER = "killed before a request is passed on", "killed before the answer"
"""What ends the client whose process is the proxy's victim."""
KEPT = {"content-type", "etag", "last-modified", "content-range", "accept-ranges"}


class Proxy(ThreadingHTTPServer):
    """Passes requests on to the server, and breaks those whose turn it is."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()
        self.calm()

    def calm(self) -> None:
        """Break nothing, and count from 0."""
        self.disturb("", range(0))

    def disturb(self, fault: str, turns: range, methods: Container[str] = METHODS) -> None:
        """Break the requests of these numbers, counted from now on, of these methods alone."""
        with self.lock:
            self.fault, self.turns, self.count, self.broken = fault, turns, 0, 0
            self.methods, self.victim = methods, Future[int]()

    def next_fault(self, method: str) -> str:
        """Count a request; give what happens to it."""
        with self.lock:
            if method not in self.methods:
                return ""
            number, self.count = self.count, self.count + 1
            if number not in self.turns:
                return ""
            self.broken += 1
            dead = self.fault in (BEFORE, AFTER) and number > self.turns.start
            return "reset" if dead else self.fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _serve(self) -> None:
        fault = self.server.next_fault(self.command)
        body = self._body()
        if fault == "500":
            return self._answer(500, {}, b"")
        if fault == "503 slow down":
            return self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
        if fault == "403 denied":
            content = DENIED if self.command != "HEAD" else b""
            return self._answer(403, {"Content-Type": "application/xml"}, content)
        if fault == "reset":
            return self._hang_up()
        if fault == "body wrong" and self.command == "PUT":
            body = _flipped(body)
        if fault == BEFORE:
            return self._kill()
        status, headers, content = self._forward(body)
        if fault == AFTER:
            return self._kill()
        if fault == "answer lost":
            return self._hang_up()
        if fault == "body wrong" and self.command == "GET":
            content = _flipped(content)
        if fault == "body cut":
            self._answer(status, headers, content, len(content) // 2)
            return self._hang_up()
        return self._answer(status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {
            key: value
            for key, value in self.headers.items()
            if key.lower() not in ("transfer-encoding", "content-length", "expect")
        }
        server = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            content = answer.read()
        finally:
            server.close()
        found = {key: value for key, value in answer.getheaders() if _is_kept(key)}
        if self.command == "HEAD":
            found["Content-Length"] = answer.headers.get("Content-Length", "0")
        return answer.status, found, content

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, until: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content[:until])

    def _kill(self) -> None:
        os.kill(self.server.victim.result(timeout=60), signal.SIGKILL)
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _is_kept(key: str) -> bool:
    return key.lower() in KEPT or key.lower().startswith("x-amz-")


def _flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else content


@contextmanager
def proxied(server: str = "moto") -> Iterator[Proxy]:
    """Serve a store with an empty bucket behind a proxy, to which the environment points."""
    with s3_server(kind=server) as port, Proxy(port) as proxy:
        ask(proxy, "PUT", "/bucket")
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            # of three layers that try again, one less: a store that does not come back ends sooner
            tries = {"AWS_MAX_ATTEMPTS": "1"}
            with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": proxy.url, **tries}):
                yield proxy
        finally:
            proxy.shutdown()


def cases(scene: Scene, numbers: range, seed: int) -> Iterator[Case]:
    """Break a burst of requests of a command, at random; then run it again in peace."""
    with proxied() as proxy:
        scene.put_back("built")
        assert scene.run(("augment.push", "set", URL), quick).code == 0
        right, lengths = {}, {}
        for name, command in JOBS.items():
            scene.put_back("built")
            empty(proxy, "new/")
            proxy.calm()
            done = scene.run(command, quick)
            assert done.code == 0, done.said
            right[name], lengths[name] = _result(scene, proxy, name), proxy.count
        for number in numbers:
            draw = random.Random(f"{seed} {number}")
            name, fault = draw.choice(list(JOBS)), draw.choice(FAULTS)
            first, burst = draw.randrange(lengths[name]), draw.choice(BURSTS)
            scene.put_back("built")
            empty(proxy, "new/")
            proxy.disturb(fault, range(first, first + burst))
            done = scene.run(JOBS[name], quick)
            broken, said = proxy.broken, done.said
            proxy.calm()
            verdict = done.fault or SAME
            if not done.fault and done.code:
                verdict = NAMED if "s3://bucket" in said else "not named"
                again = scene.run(JOBS[name], quick)
                said += again.said
                if again.code:
                    verdict = "fails when run again"
            if verdict in (SAME, NAMED) and _result(scene, proxy, name) != right[name]:
                verdict = "another result"
            if not broken:
                verdict = "nothing was broken"
            yield Case(number, name, f"request {first}", f"{fault} x {burst}", verdict, said)


def quick() -> None:
    """Wait less between tries: a campaign has many."""
    import augment.remote.bucket
    import augment.remote.placing

    augment.remote.bucket.PAUSE = 0.01
    augment.remote.placing.SETTLING = 0.0


def ask(proxy: Proxy, method: str, path: str) -> bytes:
    """Ask the server, past the proxy's faults."""
    server = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    try:
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        server.request(method, path, headers={**SIGNED, "x-amz-date": date})
        answer = server.getresponse()
        content = answer.read()
        assert answer.status < 300, content
        return content
    finally:
        server.close()


def names(proxy: Proxy, prefix: str) -> list[str]:
    """List what is there."""
    listed = ask(proxy, "GET", f"/bucket?list-type=2&prefix={prefix}").decode()
    return re.findall("<Key>(.*?)</Key>", listed)


def empty(proxy: Proxy, prefix: str) -> None:
    """Delete what is there."""
    for name in names(proxy, prefix):
        ask(proxy, "DELETE", f"/bucket/{name}")


def _result(scene: Scene, proxy: Proxy, name: str) -> Any:
    """Give all that a command made."""
    if name in ("build", "push"):
        return {
            key: ask(proxy, "GET", f"/bucket/{key}")
            for key in names(proxy, "new/")
            if key.rpartition("/")[2] not in NOT_COMPARED
        }
    if name == "export":
        return scene.digest("new")
    return None  # what a check says, it says by its end
