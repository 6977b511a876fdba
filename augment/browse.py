"""Look at a finished set in the browser: every copy beside its original, replaced words marked.

Search, filter and leaf through it on a page of this machine, or write some paragraphs into one
file with --html. Nothing leaves the machine. Needs the `ui` extra, --html does not.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import run
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions


@dataclass(frozen=True, kw_only=True)
class BrowseConfig:
    """The set to look at, and how."""

    folder: Annotated[tyro.conf.Positional[str | Path], tyro.conf.arg(metavar="SET")]
    """A finished set, as `augment.build` makes it: a folder, or a place such as s3://bucket/set."""
    html: Path | None = None
    """Write paragraphs into this file, one page that needs no server, and serve nothing."""
    ids: tuple[str, ...] = ()
    """--html: show the paragraphs of these questions or rows; random ones by default."""
    paragraphs: int = 20
    """--html: number of random paragraphs."""
    copies: int = 5
    """--html: number of copies of each."""
    seed: int = 0
    """--html: seed of the random choice of paragraphs."""
    candidates: str | Path | None = None
    """Candidates that the build stored, a folder or a URL; by default SET.candidates.
    From them the page knows which words came from the masked LM and which from GloVe."""
    host: str | None = None
    """Serve on this address of the machine.
    The default, 127.0.0.1, cannot be reached from other machines."""
    port: int | None = None
    """Serve on this port; the first free one from 7860 on by default."""

    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""

    def __post_init__(self) -> None:
        for name in ("paragraphs", "copies"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be 1 or more")


def browse(config: BrowseConfig) -> None:
    """Write the file, or serve the page until Ctrl-C.

    Raises:
        FileNotFoundError: no finished set there.
        ValueError: a damaged set, or an id that is not in it.
        UsageError: Gradio is missing, the port is taken, or the file is somebody else's.
    """
    from augment.browsing.browser import Browser

    browser = Browser(config.folder, config.candidates)
    if config.html is None:
        from augment.browsing.app import make_page
        from augment.pages.local_page import serve

        serve(make_page(browser), config.host, config.port)
        return
    from augment.browsing.standalone import write_standalone

    number = write_standalone(
        browser, config.html, config.ids, config.paragraphs, config.copies, config.seed
    )
    print(f"{config.html}: {number} paragraphs, {config.html.stat().st_size:,} bytes")


def main() -> None:
    """Run the command line."""
    run(BrowseConfig, browse)


if __name__ == "__main__":
    main()
