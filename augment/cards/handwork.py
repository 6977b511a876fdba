"""What a person wrote into a card stays when the card is written anew.

A card ends with a comment that holds a hash of each of its parts as they were written: of each
field of the head, and of each section. A part with another hash is somebody's own.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augment.base.commit import write_atomic

BEGINNING = "the text above the first section"
COMMENT = re.compile(r"\n<!-- twentyfold wrote this; changed parts are kept: ([0-9a-f ]*) -->\n")


def signed(card: str) -> str:
    """Add the comment by which a card's parts are told from somebody's own."""
    head, sections = _parts(card)
    hashes = " ".join(_hash(part) for part in (*head.items(), *sections.items()))
    return f"{card}\n<!-- twentyfold wrote this; changed parts are kept: {hashes} -->\n"


def write_signed(path: Path, card: str) -> None:
    """Write a card that `signed` gave; what somebody changed or added in the old one stays.

    Raises:
        ValueError: the old one was not written so.
    """
    if path.is_file():
        card = _merged(path, card)
    write_atomic(path, card)


def _merged(path: Path, new: str) -> str:
    try:
        old = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(path, error) from error
    comment, found = COMMENT.search(new), COMMENT.search(old)
    assert comment is not None
    if found is None:
        raise ValueError(f"{path}: not a card that was written here; move it away and try again")
    written = set(found[1].split())
    try:
        old_head, old_sections = _parts(COMMENT.sub("\n", old))
    except ValueError as error:
        raise _unreadable(path, error) from error
    head, sections = _parts(COMMENT.sub("\n", new))
    own = {key: value for key, value in old_head.items() if _hash((key, value)) not in written}
    kept = [title for title, text in old_sections.items() if _hash((title, text)) not in written]
    if not own and not kept:
        return new
    print(f"{path}: kept as written by hand: {', '.join([*own, *kept])}", file=sys.stderr)
    order = list(sections)
    for title, before in zip(old_sections, [BEGINNING, *old_sections], strict=False):
        if title in kept and title not in order:
            order.insert(order.index(before) + 1 if before in order else len(order), title)
    sections |= {title: old_sections[title] for title in kept}
    body = "\n\n".join(sections[title] for title in order)
    from huggingface_hub import CardData

    return f"---\n{CardData(**{**head, **own}).to_yaml()}\n---\n\n{body}\n{comment[0]}"


def _unreadable(path: Path, error: ValueError) -> ValueError:
    return ValueError(f"{path}: {error}; mend it, or move it away and try again")


def _parts(card: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the head's fields, and the sections by their titles.

    Raises:
        ValueError: no head.
    """
    _, head, body = re.split(r"^---$", f"{card}\n---\n---\n", maxsplit=2, flags=re.MULTILINE)
    sections: dict[str, list[str]] = {}
    for title, line in _titled(body.removesuffix("\n---\n---\n")):
        sections.setdefault(title, []).append(line)
    return read_head(head), {t: "\n".join(lines).strip() for t, lines in sections.items()}


def card_head(path: Path) -> dict[str, Any]:
    """Give the head of a card on disk.

    Raises:
        ValueError: it has none.
    """
    try:
        return _parts(path.read_text("utf-8"))[0]
    except ValueError as error:
        raise _unreadable(path, error) from error


def read_head(text: str) -> dict[str, Any]:
    """Read the YAML between a card's fences.

    Raises:
        ValueError: it is none.
    """
    import yaml

    try:
        head = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"its head is not YAML: {error}") from error
    if not isinstance(head, dict):
        raise ValueError("it has no head")
    return head


def _titled(body: str) -> Iterator[tuple[str, str]]:
    """Give each line with the title of its section; a line of code is none."""
    title, fence = BEGINNING, ""
    for line in body.split("\n"):
        marks = re.match("`{3,}", line)
        if marks:
            fence = "" if fence == marks[0] else fence or marks[0]
        elif line.startswith("## ") and not fence:
            title = line[3:].strip()
        yield title, line


def _hash(part: tuple[str, Any]) -> str:
    return hashlib.sha256(json.dumps(part, default=str).encode()).hexdigest()[:8]
