"""Put a checked set into a bucket, where a folder cannot be renamed: the manifest comes last.

A set is there if and only if its manifest is. Whoever puts the same set at the same time writes the
same bytes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from augment.base.command import UsageError
from augment.base.commit import file_sha256
from augment.base.folders import PLAN
from augment.base.set_records import MANIFEST
from augment.remote.bucket import Bucket


def put_set(folder: Path, names: Sequence[str], url: str) -> str:
    """Copy the files of a checked set to a URL; what is there already is not sent again.

    Args:
        folder: of the set.
        names: of its files, all of them.
        url: where to; a new place, or one where the same set was begun.

    Returns:
        what was done, in a sentence.

    Raises:
        UsageError: something else is there.
        OSError: the store does not take a file, or keeps another content.
    """
    bucket = Bucket(url.rstrip("/"))
    plan, manifest = ((folder / name).read_bytes() for name in (PLAN, MANIFEST))
    there = bucket.read(PLAN)
    if there != plan and not (there is None and bucket.is_empty()):
        raise UsageError(f"{bucket}: holds something else than this set; choose another place")
    if bucket.read(MANIFEST) == manifest:
        return f"{bucket}: complete already"
    middle = sorted(set(names) - {PLAN, MANIFEST})
    for name in (PLAN, *middle, MANIFEST):
        if bucket.sha256(name) != file_sha256(folder / name):
            bucket.put(name, folder / name)
            print(f"{bucket}/{name}", file=sys.stderr)
    return f"{bucket}: {len(names)} files"
