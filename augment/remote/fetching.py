"""What a URL names, fetched once per machine into the cache: a set or a file."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from augment.base.commit import file_sha256
from augment.base.records import default_cache, is_url, split_urls
from augment.base.set_records import MANIFEST, RUN, Manifest
from augment.base.stored import CHECKSUMS, parse_checksums, stored
from augment.base.toml_files import fill
from augment.remote.bucket import Bucket
from augment.remote.urls import last_name

CONTENT, ORIGIN = "content", "origin.json"
"""Of a fetched file: the folder that it lies in, and the record of where it came from."""


def at_hand(place: str | Path) -> Path:
    """Give a set's folder on this machine; one that a URL names is fetched.

    Raises:
        FileNotFoundError: a URL without a manifest, so no finished set.
        OSError, ValueError: it cannot be had whole.
        UsageError: a kind of URL that nothing here opens.
    """
    return fetched_set(Bucket(str(place).rstrip("/"))) if is_url(place) else Path(place)


def source_at_hand(source: str) -> str:
    """Give the name on this machine of what URLs name: a set's folder, a file, several files.

    What is no URL keeps its name.

    Raises:
        FileNotFoundError: neither a finished set nor a file.
        OSError, ValueError: it cannot be had whole.
        UsageError: a kind of URL that nothing here opens.
    """
    if not is_url(source):
        return source
    return ",".join(str(_fetched(url)) for url in split_urls(source))


def _fetched(url: str) -> Path:
    bucket = Bucket(url if urlsplit(url).query else url.rstrip("/"))
    if not urlsplit(url).query and bucket.has(MANIFEST):  # a query belongs to a file
        return fetched_set(bucket)
    return fetched_file(bucket)


def fetched_set(bucket: Bucket) -> Path:
    """Give the copy of a finished set in the cache, every file compared with its hash.

    Raises:
        FileNotFoundError: no manifest, so no finished set.
        ValueError: a file that is not what the set says of it.
    """
    manifest, sums = read_marks(bucket)

    def fetch(folder: Path) -> None:
        for name, sha256 in sums.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            bucket.fetch(name, folder / name, sha256)
        if RUN not in sums and (run := bucket.read(RUN)) is not None:  # of a set built there
            (folder / RUN).write_bytes(run)

    key = hashlib.sha256(manifest).hexdigest()[:16]
    return stored(default_cache() / f"set-{key}" / last_name(bucket.url), fetch)


def fetched_file(file: Bucket) -> Path:
    """Give the copy of a single file in the cache.

    The store says which version of the file it has, by an ETag or a time; of that version there is
    one copy. Where a store says nothing, the file is fetched in every process.

    Raises:
        FileNotFoundError: no such file.
        OSError: it cannot be had whole.
    """
    size, version = file.describe()
    name = last_name(file.url)
    known = [str(file), str(size), version or f"read: {file.sha256('')}"]
    key = hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]

    def fetch(folder: Path) -> None:
        path = folder / CONTENT / name
        path.parent.mkdir()
        file.fetch_unnamed(path, size, version)
        origin = {"url": str(file), "version": version, "size": path.stat().st_size}
        text = json.dumps({**origin, "sha256": file_sha256(path)}, indent=2)
        (folder / ORIGIN).write_text(text + "\n", encoding="utf-8")

    return stored(default_cache() / f"file-{key}", fetch) / CONTENT / name


def remote_manifest(bucket: Bucket) -> Manifest:
    """Read the manifest of a finished set.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    manifest, _ = read_marks(bucket)
    try:
        return fill(Manifest, json.loads(manifest), "")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{bucket}/{MANIFEST}: damaged ({error}); push the set again") from error


def read_marks(bucket: Bucket) -> tuple[bytes, dict[str, str]]:
    """Read the manifest of a set, and the hashes of all its files, of which it is one.

    Raises:
        FileNotFoundError: no manifest, so no finished set.
        ValueError: the two do not belong together, or name files outside the set.
    """
    manifest = bucket.read(MANIFEST)
    if manifest is None:
        raise FileNotFoundError(f"{bucket}: no {MANIFEST} in it, so not a finished set")
    sums = bucket.read(CHECKSUMS)
    if sums is None:
        raise ValueError(f"{bucket}: {CHECKSUMS}: missing")
    try:
        listed = parse_checksums(sums)
    except ValueError as error:
        raise ValueError(f"{bucket}: {error}") from error
    if listed.get(MANIFEST) != hashlib.sha256(manifest).hexdigest():
        raise ValueError(
            f"{bucket}: its {MANIFEST} is not the one that {CHECKSUMS} names; read it again, and "
            "if it stays so, push the set again"
        )
    for name in listed:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{bucket}: {CHECKSUMS} names {name!r}, which lies outside")
    return manifest, listed
