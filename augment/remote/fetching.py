"""What a URL names, fetched once per machine into the cache: a set, files, a folder of files."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from augment.base.command import default_cache
from augment.base.commit import file_sha256
from augment.base.folders import PLAN
from augment.base.records import is_url, shown, split_urls
from augment.base.set_records import MANIFEST, RUN, Manifest
from augment.base.stored import CHECKSUMS, parse_checksums, stored
from augment.base.toml_files import fill
from augment.remote.bucket import MD5, Bucket
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


def source_at_hand(source: str) -> str | list[str]:
    """Give the name on this machine of what URLs name: a set, a folder, a file; of several files.

    What is no URL keeps its name.

    Raises:
        FileNotFoundError: neither a finished set, a file, nor a folder of files.
        OSError, ValueError: it cannot be had whole.
        UsageError: a kind of URL that nothing here opens.
    """
    if not is_url(source):
        return source
    places = [_fetched(one) if is_url(one) else [Path(one)] for one in split_urls(source)]
    paths = [str(path) for several in places for path in several]
    return paths[0] if len(paths) == 1 else paths


def _fetched(url: str) -> list[Path]:
    if urlsplit(url).query:  # which belongs to a file
        return [fetched_file(Bucket(url))]
    if "*" in urlsplit(url).path:
        return fetched_matches(url)
    bucket = Bucket(url.rstrip("/"))
    if bucket.has(MANIFEST):
        return [fetched_set(bucket)]
    try:
        return [fetched_file(bucket)]
    except IsADirectoryError:
        return [fetched_folder(bucket)]


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
            try:
                bucket.fetch(name, folder / name, sha256)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{bucket}/{name}: is named in {CHECKSUMS} and not there; push the set again "
                    "from where it is whole"
                ) from error
        if RUN not in sums and (run := bucket.read(RUN)) is not None:  # of a set built there
            (folder / RUN).write_bytes(run)

    key = hashlib.sha256(manifest).hexdigest()[:16]
    size = sum(shard.bytes for shard in _filled(bucket, manifest).shards)
    return stored(default_cache() / f"set-{key}" / last_name(bucket.url), fetch, size)


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
    if version and not MD5.fullmatch(version):  # files that a query tells apart may share it
        known += [query] if (query := urlsplit(file.url).query) else []
    key = hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]

    def fetch(folder: Path) -> None:
        path = folder / CONTENT / name
        path.parent.mkdir()
        file.fetch_unnamed(path, size, version)
        origin = {"url": str(file), "version": version, "size": path.stat().st_size}
        text = json.dumps({**origin, "sha256": file_sha256(path)}, indent=2)
        (folder / ORIGIN).write_text(text + "\n", encoding="utf-8")

    return stored(default_cache() / f"file-{key}", fetch, size or 0) / CONTENT / name


def fetched_matches(url: str) -> list[Path]:
    """Give the copies of all files that a pattern names, in order of their names.

    Raises:
        FileNotFoundError: there is none.
        OSError: one cannot be had whole.
    """
    host = "/".join(url.split("/", 3)[:3])
    plain = re.split(r"[*[]", url.removeprefix(host), maxsplit=1)[0].rpartition("/")[0]
    folder = f"{host}{plain}"
    names = Bucket(folder).matching(url.removeprefix(f"{folder}/"))
    if not names:
        raise FileNotFoundError(f"{shown(url)}: no file there fits this pattern")
    return [fetched_file(Bucket(f"{folder}/{name}")) for name in names]


def fetched_folder(bucket: Bucket) -> Path:
    """Give a folder in the cache of links to copies of all files of a folder.

    Raises:
        FileNotFoundError: no files, or a set that is not finished.
        OSError, ValueError: one cannot be had whole.
    """
    names = sorted(bucket.list())
    if not names:
        raise FileNotFoundError(f"{bucket}: a folder without files")
    if PLAN in names:
        raise FileNotFoundError(f"{bucket}: a set that is not finished, no {MANIFEST} in it")
    _check_inside(bucket, names, "it has")
    files = {name: fetched_file(Bucket(f"{bucket.url}/{name}")) for name in names}
    known = "\n".join(f"{name}: {path}" for name, path in files.items())
    key = hashlib.sha256(known.encode()).hexdigest()[:16]
    place = Path(CONTENT, last_name(bucket.url))

    def link(folder: Path) -> None:
        for name, file in files.items():
            path = folder / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(file.absolute())

    return stored(default_cache() / f"folder-{key}", link) / place


def _check_inside(bucket: Bucket, names: Iterable[str], says: str) -> None:
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{bucket}: {says} {name!r}, which lies outside")


def remote_manifest(bucket: Bucket) -> Manifest:
    """Read the manifest of a finished set.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    return _filled(bucket, read_marks(bucket)[0])


def _filled(bucket: Bucket, manifest: bytes) -> Manifest:
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
    _check_inside(bucket, listed, f"{CHECKSUMS} names")
    return manifest, listed
