"""A set in a bucket, fetched once per machine into the cache; every file must have its hash."""

import hashlib
from pathlib import Path, PurePosixPath

from augment.base.records import default_cache
from augment.base.set_records import MANIFEST
from augment.base.stored import CHECKSUMS, parse_checksums, stored
from augment.remote.bucket import Bucket
from augment.remote.urls import is_url, last_name


def at_hand(place: str | Path) -> Path:
    """Give a set's folder on this machine; one that a URL names is fetched.

    Raises:
        FileNotFoundError: a URL without a manifest, so no finished set.
        OSError, ValueError: it cannot be had whole.
        UsageError: a kind of URL that nothing here opens.
    """
    return fetched_set(Bucket(str(place).rstrip("/"))) if is_url(place) else Path(place)


def set_at_hand(source: str) -> str:
    """Give the folder on this machine of a set that a URL names; of anything else its name."""
    if not is_url(source) or "." in last_name(source):  # a file
        return source
    bucket = Bucket(source.rstrip("/"))
    return source if bucket.read(MANIFEST) is None else str(fetched_set(bucket))


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

    key = hashlib.sha256(manifest).hexdigest()[:16]
    return stored(default_cache() / f"set-{key}" / last_name(bucket.url), fetch)


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
            "if it stays so, build the set again into another place"
        )
    for name in listed:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{bucket}: {CHECKSUMS} names {name!r}, which lies outside")
    return manifest, listed
