"""Put a set on the hub, with its data card, or into a bucket.

The set is checked first, and its own files go up alone. If the command was interrupted, run it
again: what is there is not sent twice. The token is that of `hf auth login`, or HF_TOKEN; the keys
of a bucket are where its own tools look for them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run
from augment.base.records import is_url, shown
from augment.base.set_records import RUN
from augment.base.stored import CHECKSUMS, read_checksums
from augment.check import check
from augment.remote.hub import listing, push_files
from augment.remote.placing import put_set
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions

SHARDS = "data/*.arrow"
"""What a smaller set has to replace of a larger one that was pushed before."""


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """Which set, and where to."""

    augmented: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SET")]
    """A folder made by `augment.build`."""
    repository: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ORG/NAME")]
    """Data set on the hub, made if it is not there; or a place such as s3://bucket/set."""
    dry_run: bool = False
    """Check the set, say what would go up, and send nothing."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""


def push(config: PushConfig) -> None:
    """Check a set and upload it.

    Raises:
        ValueError: the set fails its check.
        OSError, RuntimeError: the hub does not take it.
    """
    check(config.augmented)
    names = sorted({*read_checksums(config.augmented), CHECKSUMS, RUN})
    if config.dry_run:
        print(listing(config.augmented, names, shown(config.repository)))
    elif is_url(config.repository):
        print(put_set(config.augmented, names, config.repository))
    else:
        print(push_files(config.augmented, names, config.repository, "dataset", SHARDS))


if __name__ == "__main__":
    run(PushConfig, push)
