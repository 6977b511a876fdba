"""Draw the picture in README, flow.svg: what goes into each package, and what comes out.

`python data_cards/draw_flow.py` writes it anew. Its text is text, and it has a light and a dark
look, each on a ground of its own.
"""

from html import escape
from pathlib import Path

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
  text { fill: #424a53; text-anchor: middle }
  .name { font-size: 14px; font-weight: 600; fill: #1f2328 }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .package { fill: #ddf4ff; stroke: #0969da }
  .data { fill: #fff8c5; stroke: #9a6700 }
  .arrow { fill: #59636e; stroke: #59636e; stroke-width: 1.6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #d1d7e0 }
    .name { fill: #f0f6fc }
    .ground { fill: #0d1117; stroke: #3d444d }
    .package { fill: #0c2d50; stroke: #4493f8 }
    .data { fill: #3b2e0a; stroke: #d29922 }
    .arrow { fill: #9198a1; stroke: #9198a1 }
  }
"""
TITLE = (
    "SQuAD, a masked LM and GloVe go into augment, which makes the 20x set; the set and a teacher "
    "go into distill, which makes a student; the student and a dev set go into eval: scores."
)
WIDTH, HEIGHT = 1020, 212
TOP, MIDDLE = 18, 110

BOXES = [
    ("data", 16, TOP, 90, "SQuAD|or your own"),
    ("data", 114, TOP, 102, "masked LM|and GloVe"),
    ("data", 392, TOP, 132, "teacher|a trained reader"),
    ("data", 734, TOP, 132, "dev set|not trained on"),
    (
        "package",
        16,
        MIDDLE,
        200,
        "augment|replaces words;|every answer stays, and|its answer_start moves",
    ),
    ("data", 238, MIDDLE, 98, "20x set|originals|and copies,|Arrow shards"),
    (
        "package",
        358,
        MIDDLE,
        200,
        "distill|1. hidden states, attention|on all copies|2. spans on originals",
    ),
    ("data", 580, MIDDLE, 98, "student|a checkpoint|with fewer|layers"),
    (
        "package",
        700,
        MIDDLE,
        200,
        "eval|windows, logits, answers;|the official scores,|to the last digit",
    ),
    ("data", 922, MIDDLE, 82, "scores|exact, F1,|intervals,|signature"),
]
"""Look, left, top, width, and lines of which the first is the name."""
DOWN = [61, 165, 458, 800]
RIGHT = [216, 336, 558, 678, 900]


def box(look: str, left: int, top: int, width: int, text: str) -> str:
    """Draw lines of text in a frame."""
    lines = text.split("|")
    height = 18 * len(lines) + 14
    frame = f'<rect class="{look}" x="{left}" y="{top}" width="{width}" height="{height}" rx="7"/>'
    drawn = [
        f'<text class="{"line" if number else "name"}" x="{left + width // 2}" '
        f'y="{top + 21 + 18 * number}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    return "\n".join([frame, *drawn])


def draw() -> str:
    """Give the picture as SVG."""
    height = MIDDLE + 43
    arrows = [
        *(f"M{x} {TOP + 50}V{MIDDLE - 7}m-4 -2h8l-4 7z" for x in DOWN),
        *(f"M{x} {height}h15m-2 -4v8l7 -4z" for x in RIGHT),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            ' aria-labelledby="title">',
            f'<title id="title">{TITLE}</title>',
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
            *(f'<path class="arrow" d="{path}"/>' for path in arrows),
            *(box(*given) for given in BOXES),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    Path(__file__).with_name("flow.svg").write_text(draw(), "utf-8")
