"""Put named files of a folder on the hub, in one commit or, of much data, in several."""

import sys
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Literal

from augment.base.command import UsageError


def push_files(
    folder: Path,
    names: Sequence[str],
    repository: str,
    kind: Literal["dataset", "model"],
    replaced: str | None = None,
) -> str:
    """Upload files under their names, into a repository that is made if it is not there.

    What the hub has already is not sent again, so that an interrupted push goes on.

    Args:
        folder: where the files are; nothing is written there.
        names: of the files, relative to `folder`.
        repository: ORG/NAME.
        kind: of repository.
        replaced: a pattern; files in the repository that fit it and are not among `names` go.

    Returns:
        where the hub shows them.

    Raises:
        UsageError: no name that a repository can have.
        OSError, RuntimeError: the hub does not take them.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    try:
        address = api.create_repo(repository, repo_type=kind, exist_ok=True)
    except HFValidationError as error:
        raise UsageError(f"{repository}: {error}") from error
    api.upload_folder(
        repo_id=repository,
        repo_type=kind,
        folder_path=folder,
        allow_patterns=[escape(name) for name in names],
        delete_patterns=replaced,
        commit_message=f"Upload {folder.resolve().name}",
    )
    return str(address)


def listing(folder: Path, names: Sequence[str], repository: str) -> str:
    """Say what a push would send."""
    sizes = [(folder / name).stat().st_size for name in names]
    lines = [f"{size:>14,}  {name}" for name, size in zip(names, sizes, strict=True)]
    total = f"{len(names)} files, {sum(sizes) / 1e6:,.1f} MB would go to {repository}"
    return "\n".join([*lines, total])
