"""Cards from templates: text by Jinja, a head that the hub accepts, and nobody else's markup.

Differs from `huggingface_hub.RepoCard.from_template`: a name that a template misspells is an error,
not nothing, and a line that holds a statement leaves no blank line. The card's class reads it then.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from augment.base.terminal import printable
from augment.cards.handwork import signed
from augment.cards.head import check_head

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData, ModelCardData

CITATIONS = Path(__file__).with_name("citations.bib")
MARKUP = str.maketrans({mark: f"&#{ord(mark)};" for mark in "&<>[]`\\|"})
"""What could begin HTML, a link, a picture, code, an escape or a cell."""


def render(template: Path, data: "DatasetCardData | ModelCardData", **values: Any) -> str:
    """Fill the template of a card.

    Args:
        template: Markdown; with `data`'s YAML as `card_data`, and `values`. What is not ours
            (names of files, folders and models) goes through `code`, `text` or `fence`.
        data: the head.

    Raises:
        ValueError: a word of the head that the hub does not know, or a number that is none.
    """
    from huggingface_hub import DatasetCard, DatasetCardData, ModelCard
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    check_head(data.to_dict())  # type: ignore[no-untyped-call]
    jinja = Environment(
        loader=FileSystemLoader([template.parent, CITATIONS.parent]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for own in (code, text, fence, wrap, paragraph, bibtex):
        jinja.filters[own.__name__] = own
    jinja.filters["number"] = format
    card = signed(jinja.get_template(template.name).render(card_data=data.to_yaml(), **values))
    (DatasetCard if isinstance(data, DatasetCardData) else ModelCard)(card)
    return card


def one_line(value: object) -> str:
    """Show line breaks and other control characters of a name instead of obeying them."""
    return printable(str(value).replace("\n", "\r").replace("\t", " "))


def text(value: object) -> str:
    """Put a name into running text."""
    return one_line(value).translate(MARKUP)


def code(value: object) -> str:
    """Put a name between backticks that it does not hold."""
    name = one_line(value)
    marks = _longer_than_in(name, "`")
    blank = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{marks}{blank}{name}{blank}{marks}"


def fence(value: str) -> str:
    """Put lines of text into a block that shows them as they are."""
    marks = _longer_than_in(value, "`", 3)
    return f"{marks}\n{printable(value)}\n{marks}"


def _longer_than_in(value: str, mark: str, least: int = 1) -> str:
    return mark * max(least, *(len(run) + 1 for run in re.findall(f"{mark}+", value)), 0)


def wrap(value: str, indent: str = "", width: int = 100) -> str:
    """Break a text into lines."""
    return fill(
        " ".join(value.split()),
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def paragraph(block: str) -> str:
    """Break a block of a template into lines; its tag ends the last one."""
    return wrap(block) + "\n"


def bibtex(keys: Iterable[str]) -> str:
    """Give entries of `citations.bib`."""
    entries = re.findall(r"^(@\w+\{([^,]+),.*?^\})$", CITATIONS.read_text("utf-8"), re.M | re.S)
    known = {key: entry for entry, key in entries}
    return "\n".join(["```bibtex", *(known[key] for key in keys), "```"])
