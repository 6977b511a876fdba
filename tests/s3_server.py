"""A real S3 server on loopback, as a process of its own: one of two independent ones.

moto's, in Python, keeps files in memory and writes on condition; s3rver, on Node, keeps them on
disk and knows no conditions.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from fsspec import get_filesystem_class

SERVERS = ("moto", "s3rver")
S3RVER = Path(__file__).parents[1] / ".venv/s3rver/node_modules/s3rver/bin/s3rver.js"
KEYS = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_DEFAULT_REGION": "us-east-1"}
"""s3rver knows this one key; moto takes any."""
SMALL_PARTS = {"S3_UPLOAD_PART_MIN_SIZE": "1"}
"""moto refuses parts below 5 MB, as S3 does; tests upload small ones."""


def missing(kind: str) -> str:
    """Say how to install a server that is not there; nothing of one that is."""
    if kind == "s3rver" and not (shutil.which("node") and S3RVER.exists()):
        return "s3rver is not installed; install Node.js with npm and run `make s3rver`"
    return ""


@contextmanager
def s3_server(secret: str = "secret", kind: str = "moto") -> Iterator[int]:
    """Serve; the environment says where and with which keys. Gives the port.

    s3fs keeps one connection a process for all who name no server: it must forget the one before.
    """
    kept = get_filesystem_class("s3")
    kept.clear_instance_cache()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_SECRET_ACCESS_KEY": secret}
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {**KEYS, **where}):
        commands = {
            "moto": [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", f"{port}"],
            # DES, with which it encrypts the place where a long listing goes on, is legacy
            "s3rver": ["node", "--openssl-legacy-provider", str(S3RVER), "--silent"],
        }
        commands["s3rver"] += ["-d", folder, "-a", "127.0.0.1", "-p", f"{port}"]
        server = subprocess.Popen(
            commands[kind],
            env={**os.environ, **SMALL_PARTS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(600):
                assert server.poll() is None, f"{kind} ended with {server.returncode}"
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            else:
                raise TimeoutError(f"{kind} does not answer")
            yield port
        finally:
            kept.clear_instance_cache()
            server.kill()
            server.wait(timeout=60)
