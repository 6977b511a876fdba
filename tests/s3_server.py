"""A real S3 server on loopback, as a process of its own, with an empty bucket."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server(secret: str = "secret") -> Iterator[int]:
    """Serve; the environment says where and with which keys. Gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    where = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_SECRET_ACCESS_KEY": secret}
    with mock.patch.dict(os.environ, {**KEYS, **where}):
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            yield port
        finally:
            server.kill()
            server.wait(timeout=60)
