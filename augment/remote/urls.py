"""Places named by URLs: opened by fsspec; what is said of them is without secrets."""

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from augment.base.command import UsageError, default_cache
from augment.base.records import shown

EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Of the project: what fsspec opens a kind of URL with."""
KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "HF_TOKEN",
}
"""Where a store's own tools look for keys."""


def last_name(url: str) -> str:
    """Give the last name of a URL's path, as a file or folder of this machine would have it."""
    parts = urlsplit(url, allow_fragments=False)
    return parts.path.rstrip("/").rpartition("/")[2] or parts.netloc.rpartition("@")[2]


def kept_here(kind: str, url: str) -> Path:
    """Give the folder of the cache for what is at work, or kept, of a place in a bucket."""
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    return (default_cache() / kind / f"{last_name(url)}-{key}").absolute()


def check_place(name: str, url: str) -> None:
    """See that something can be put at a URL and be found there.

    Raises:
        UsageError: with `name`, which it has for the user.
    """
    place = url.partition("://")[2].rstrip("/")
    if not place:
        raise UsageError(f"{name} {url}: names no place; write one such as s3://bucket/set")
    if "//" in place or "?" in place:
        raise UsageError(f"{name} {shown(url)}: a doubled slash or a ? in it; choose another name")


def secrets_of(url: str) -> list[str]:
    """Give what may be secret in a URL: its user and password, its query."""
    parts = urlsplit(url)
    return [found for found in (parts.netloc.rpartition("@")[0], parts.query) if found]


def said(error: BaseException, url: str = "") -> str:
    """Give an error's words in one line, without users and queries of URLs, of `url` first."""
    text = " ".join(str(error).split()) or type(error).__name__
    for secret in secrets_of(url):
        text = text.replace(secret, "***")
    return re.sub(r"\?[^\s'\",)]+", "", re.sub(r"(://)[^/\s@]+@", r"\1", text))


def how_to_install(kind: str) -> str:
    """Say how to get what opens a kind of URL."""
    if extra := EXTRAS.get(kind):
        return f"in the project's folder, pip install -e '.[{extra}]' -c constraints.txt"
    return "install the package that fsspec opens it with"


def where_keys_are(kind: str) -> str:
    """Say where keys to a store are looked for."""
    places = [KEYS[kind]] if kind in KEYS else []
    return ", ".join([*places, f"FSSPEC_{kind.upper()} (a JSON object)"])


def file_system(url: str) -> tuple[Any, str]:
    """Open what a URL leads to; give fsspec's file system, and the path in it.

    Credentials and endpoints come from the environment, as the store's own tools take them.

    Raises:
        UsageError: a kind of URL that nothing here opens.
    """
    import fsspec

    if "://" not in url:  # at its end the slashes were taken off
        raise UsageError(f"{url}//: names no place; write one such as s3://bucket/set")
    kind = url.partition("://")[0]
    local = {"auto_mkdir": True} if kind in ("file", "local") else {}
    try:
        files, path = fsspec.core.url_to_fs(url, use_listings_cache=False, **local)
    except (ImportError, ValueError, TypeError) as error:
        raise UsageError(
            f"{shown(url)}: cannot be opened ({said(error, url)}); {how_to_install(kind)}"
        ) from error
    return files, str(path).rstrip("/")
