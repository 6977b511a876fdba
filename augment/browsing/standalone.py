"""A page without a server: some paragraphs of a set in one file that fetches nothing."""

import random
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from augment.base.command import UsageError
from augment.base.commit import write_atomic
from augment.base.paragraphs import raise_faults
from augment.browsing.browser import Browser
from augment.browsing.page import legend, paragraph
from augment.browsing.query import Query, split_id
from augment.pages.local_page import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light; }
body { font-family: system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1rem;
  background: #f6f7f9; }
article.tf { padding: 1rem 0 1.5rem; border-top: 1px solid var(--line); }
"""
MADE_BY = '<meta name="generator" content="augment.browse">'


def write_standalone(
    browser: Browser, path: Path, ids: Sequence[str], paragraphs: int, copies: int, seed: int
) -> int:
    """Write some paragraphs into one page; give their number.

    Args:
        browser: the set.
        path: of the page.
        ids: questions or rows whose paragraphs are shown; random ones if there are none.
        paragraphs: how many random ones at most.
        copies: how many copies of each at most; a row that is named brings its own copy.
        seed: decides which paragraphs are drawn.

    Raises:
        ValueError: a damaged set, or an id that is not in it.
        UsageError: at `path` lies a file that was not made here.
    """
    if path.exists() and MADE_BY not in path.read_text("utf-8", errors="replace")[:1000]:
        raise UsageError(f"{path}: exists and was not made here; choose another file")
    name = browser.index.folder.resolve().name
    raise_faults(name, browser.faults(), "build the set again, or copy it again")
    if ids:
        unknown = [f"{i}: no question or row has this id" for i in ids if not _known(browser, i)]
        raise_faults(name, unknown, "look at the ids with augment.browse")
        sights = [browser.sight(Query(text=one), 1) for one in ids]
    else:
        number = browser.count(Query())
        chosen = sorted(random.Random(seed).sample(range(1, number + 1), min(paragraphs, number)))
        sights = [browser.sight(Query(), position) for position in chosen]
    views = [sight.paragraph for sight in sights if sight.paragraph]
    shown = "\n".join(paragraph(replace(view, copies=view.copies[:copies])) for view in views)
    line = f"{len(views)} of {len(browser.index.titles):,} paragraphs"
    write_atomic(path, _page(name, line, legend(browser.kinds) + shown))
    return len(views)


def _known(browser: Browser, row_id: str) -> bool:
    return browser.index.paragraph_of(split_id(row_id)[0]) is not None


def _page(name: str, line: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
{MADE_BY}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(name)}</title>
<style>{STYLE}{CSS.read_text("utf-8")}</style>
<main>
<div class="tf"><h1 dir="auto">{escape(name)}</h1><p>{escape(line)}</p></div>
{body}
</main>
</html>
"""
