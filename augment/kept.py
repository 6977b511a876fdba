"""The card of a set without the set: what a reader of a repository needs, and nothing of SQuAD.

A kept folder holds manifest.json, run.json (times, memory, versions; no paths), examples.json,
words.svg and the README.md that is written from them.
"""

import json
import platform
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import Any

from augment.command import to_json
from augment.commit import write_atomic
from augment.plots import draw_set, word_shares
from augment.shards import read_manifest

RUN, EXAMPLES, PICTURE = "run.json", "examples.json", "words.svg"
RUN_KEYS = (
    "seconds",
    "peak_memory_mib",
    "num_workers",
    "contexts_through_the_model",
    "versions",
    "processor",
    "note",
)
SAMPLE = Path(__file__).parent / "embedded" / "sample-train-v2.0.json"
NUM_EXAMPLES = 3


def keep(out: Path, folder: Path, mlm: str, glove: str, note: str = "") -> None:
    """Keep what a finished set's card needs; run it on the machine that built the set.

    Args:
        out: the finished set.
        folder: where to.
        mlm, glove: what makes the examples, as `augment.preview` takes them.
        note: a sentence on how its times were taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(out)
    record = json.loads((out / RUN).read_bytes())
    record |= {"processor": processor(), "note": note}
    kept = {key: record[key] for key in RUN_KEYS}
    write_atomic(folder / RUN, to_json(kept))
    write_atomic(folder / EXAMPLES, to_json(make_examples(manifest["plan"], mlm, glove)))
    write_atomic(folder / PICTURE, draw_set(manifest))
    write_atomic(folder / "manifest.json", (out / "manifest.json").read_bytes())


def make_examples(plan: dict[str, Any], mlm: str, glove: str) -> dict[str, Any]:
    """Make one copy of each of the bundled sample's first paragraphs, with a set's knobs."""
    from augment.augmenter import Augmenter
    from augment.preview import mark
    from augment.squad import read_squad

    masking = (plan["masked_lm"] or {}).get("masking", "spread")
    augmenter = Augmenter.load(
        mlm,
        glove,
        num_candidates=plan["num_candidates"],
        masking=masking,
        words=plan["words"],
    )
    texts = []
    for paragraph in read_squad(SAMPLE).paragraphs[:NUM_EXAMPLES]:
        answers = [answer for question in paragraph.questions for answer in question.answers]
        [variant] = augmenter.augment(
            paragraph.context,
            answers,
            copies=1,
            replace_probability=plan["replace_probability"],
            seed=plan["seed"],
            keep_words=plan["keep_words"],
        )
        with redirect_stdout(StringIO()):  # not a terminal: marks, no escape sequences
            texts.append(mark(variant.text, variant.answers, variant.replaced))
    return {"mlm": Path(mlm).name, "glove": Path(glove).name, "texts": texts}


def examples_section(examples: dict[str, Any]) -> str:
    """Show the examples, wrapped."""
    shown = "\n\n".join(
        fill(text, 96, break_long_words=False, break_on_hyphens=False) for text in examples["texts"]
    )
    said = fill(
        "One copy of each of three paragraphs of the sample that ships with the program (not of "
        f"SQuAD), made with this set's settings by the masked LM `{examples['mlm']}` and the "
        f"vectors `{examples['glove']}`. `[new|old]` is a replaced word, `<...>` an answer:",
        100,
    )
    return f"## Examples\n\n{said}\n\n```\n{shown}\n```\n"


def picture_section(manifest: dict[str, Any]) -> str:
    """Show the picture, and in words what is in it."""
    shares = word_shares(manifest)
    words = "; ".join(f"{share:.1%} {name}" for name, share in shares.items())
    bins = manifest["copies_by_share_replaced"]
    total, width = max(1, sum(bins)), 100 // len(bins)
    parts = [
        f"{number / total:.1%} of the copies differ in {n * width} to {(n + 1) * width} % of "
        "their words"
        for n, number in enumerate(bins)
        if number / total >= 0.05
    ]
    return f"""## How far copies differ

![Share of words replaced, by source, and copies by share of their words replaced]({PICTURE})

{fill(f"Of the words of all copies: {words}.", 100)}

{fill("; ".join(parts), 100)}.
"""


def run_section(record: dict[str, Any]) -> str:
    """Say on what, how long and with which versions the set was built."""
    seconds, workers = record["seconds"], record["num_workers"]
    parts = ", ".join(f"{name} {value:,.0f} s" for name, value in seconds.items())
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    text = (
        f"{sum(seconds.values()):,.0f} s on {record['processor']}, "
        f"{workers} worker{'s' if workers > 1 else ''} ({parts}). "
        f"{record['contexts_through_the_model']:,} contexts went through the masked LM; the "
        "candidates of the others were stored. "
        f"At most {record['peak_memory_mib']:,} MiB in a process. {record['note']} With {versions}."
    )
    return f"## Hardware and time\n\n{fill(text, 100)}\n"


def processor() -> str:
    """Name this machine's processor."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
