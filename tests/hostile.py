"""Names and texts that try to become markup of a card, and what a reader of Markdown sees."""

from typing import Any

from markdown_it import MarkdownIt

HOSTILE = (
    "x\n\n# owned\n\n<img src=x onerror=alert(1)> ![p](http://x/y) [l](javascript:1) "
    "``` `a` <!-- | \\ &lt; \x1b[31m \u202e <script>"
)


def spoiled(value: Any) -> Any:
    """Put hostile text into the place of every string."""
    if isinstance(value, dict):
        return {key: spoiled(inner) for key, inner in value.items()}
    return [*map(spoiled, value)] if isinstance(value, list) else (
        HOSTILE if isinstance(value, str) else value
    )  # fmt: skip


def body_markup(card: str) -> list[tuple[str, str]]:
    """List what a reader of Markdown makes of a card: headings, links, pictures, HTML, cells."""
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(card.split("\n---\n", 1)[1])
    tokens += [inner for token in tokens for inner in token.children or []]
    kinds = ("heading_open", "link_open", "image", "html_inline", "html_block", "td_open", "fence")
    return sorted((token.type, token.tag) for token in tokens if token.type in kinds)
