"""Put a checked set into a bucket, where a folder cannot be renamed: the manifest comes last.

A set is there if and only if its manifest is. Whoever puts the same set at the same time writes the
same shards; of what may differ, the record of a run and the card, the files of one stay.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from augment.base.command import UsageError
from augment.base.commit import file_sha256
from augment.base.folders import PLAN
from augment.base.records import differences
from augment.base.set_records import MANIFEST, RUN
from augment.base.stored import CHECKSUMS, parse_checksums
from augment.remote.bucket import Bucket
from augment.remote.urls import check_place

SETTLING = 1.0
"""Seconds after which a plan that was written at the same time has shown up.

Only a store without conditional writes needs them: there the later of two plans stays."""
ROUNDS = 10
"""How often files are written that others overwrote."""


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
    check_place("the place", url)
    bucket = Bucket(url.rstrip("/"))
    plan = (folder / PLAN).read_bytes()
    claim(bucket, plan)
    if strays := sorted(bucket.list().keys() - set(names)):
        raise UsageError(f"{bucket}: {', '.join(strays[:10])}: none of this set; move it away")
    ours = {name: file_sha256(folder / name) for name in names}
    order = [PLAN, *sorted(set(names) - {PLAN, MANIFEST}), MANIFEST]
    known: dict[str, tuple[str, str | None]] = {}
    for attempt in range(ROUNDS):
        if _agrees(bucket, ours, known):
            keep_plan(bucket, plan)
            return f"{bucket}: " + (f"{len(names)} files" if attempt else "complete already")
        if attempt > 1:  # others write here: let one of us be last
            time.sleep(random.uniform(0, SETTLING * attempt))
            if _agrees(bucket, ours, known):
                continue
        for name in order:
            keep_plan(bucket, plan)
            if bucket.sha256(name) != ours[name]:
                bucket.put(name, folder / name)
                print(f"{bucket}/{name}", file=sys.stderr)
    raise OSError(f"{bucket}: others write other files of this set there; push it again")


def claim(bucket: Bucket, plan: bytes) -> None:
    """Write the plan of a set into an empty place, or find it there.

    Raises:
        UsageError: something else is there, or somebody began with another plan.
    """
    if bucket.read(PLAN) is None:
        if not bucket.is_empty() and bucket.read(PLAN) is None:  # or another put it there just now
            raise UsageError(f"{bucket}: holds something else than a set; choose another place")
        bucket.write_once(PLAN, plan)
        time.sleep(SETTLING)
    keep_plan(bucket, plan)


def keep_plan(bucket: Bucket, plan: bytes) -> None:
    """See that the plan in a place is one's own; put it there if there is none.

    Raises:
        UsageError: it is another one, with what differs.
    """
    there = bucket.write_once(PLAN, plan)
    if there == plan:
        return
    try:
        changed = differences(json.loads(there), json.loads(plan))
    except (ValueError, AttributeError):
        changed = [f"{PLAN} is damaged"]
    listed = "\n  ".join(changed or [f"{PLAN} is written in another way"])
    raise UsageError(
        f"{bucket}: made with another configuration; choose another place, or delete what is "
        f"there:\n  {listed}"
    )


def _agrees(bucket: Bucket, ours: dict[str, str], known: dict[str, tuple[str, str | None]]) -> bool:
    """Tell whether a whole set of this plan is there, every file as its `SHA256SUMS` says.

    Its files may be those of another who put the same set: plan, manifest and so all shards are
    ours, and so are all names.

    Args:
        bucket: where it is.
        ours: the hashes of our files.
        known: hashes of files read before, and of which version; those are not read again.
    """
    versions = bucket.list()
    if ours.keys() - versions.keys():
        return False
    for name in ours:
        version = versions[name]
        if not version or known.get(name, ("", None))[0] != version:
            known[name] = version, bucket.sha256(name)
    hashes = {name: sha256 for name, (_, sha256) in known.items()}
    if any(hashes[name] != ours[name] for name in (PLAN, MANIFEST)):
        return False
    sums = bucket.read(CHECKSUMS) or b""
    try:
        listed = parse_checksums(sums)
    except ValueError:
        return False
    # of a set that was built in a bucket, SHA256SUMS does not name the run record
    return {RUN: hashes[RUN], **listed, CHECKSUMS: hashes[CHECKSUMS]} == hashes
