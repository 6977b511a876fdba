"""A set's card in a folder of its own, with pictures and examples but without the data.

The folder holds manifest.json, run.json (times, memory, versions; no paths), examples.json,
words.svg and the README.md that is written from them.
"""

from pathlib import Path
from typing import Any, cast

from augment.base.command import to_json
from augment.base.commit import write_atomic
from augment.base.records import as_json, processor
from augment.base.set_records import MANIFEST, RUN, Plan, read_manifest, read_run
from augment.cards.data_card import EXAMPLES, PICTURE
from augment.cards.plots import draw_set
from augment.variants.words import WordRule

SAMPLE = Path(__file__).parents[1] / "embedded" / "sample-train-v2.0.json"
NUM_EXAMPLES = 3


def archive_card(out: Path, folder: Path, mlm: str, glove: str, note: str = "") -> None:
    """Copy what a finished set's card is made from; run it on the machine that built the set.

    Args:
        out: the finished set.
        folder: where to.
        mlm, glove: what makes the examples, as `augment.preview` takes them.
        note: a sentence on how its times were taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(out)
    kept = {**as_json(read_run(out)), "processor": processor(), "note": note}
    del kept["config"]  # it has this machine's paths
    write_atomic(folder / RUN, to_json(kept))
    write_atomic(folder / EXAMPLES, to_json(make_examples(manifest.plan, mlm, glove)))
    write_atomic(folder / PICTURE, draw_set(manifest))
    write_atomic(folder / MANIFEST, (out / MANIFEST).read_bytes())


def make_examples(plan: Plan, mlm: str, glove: str) -> dict[str, Any]:
    """Make one copy of each of the bundled sample's first paragraphs, with a set's knobs."""
    from augment.augmenter import Augmenter
    from augment.squad import read_squad
    from augment.variants.marks import mark

    masking: Any = plan.masked_lm.masking if plan.masked_lm else "spread"
    augmenter = Augmenter.load(
        mlm,
        glove,
        num_candidates=plan.num_candidates,
        masking=masking,
        words=cast(WordRule, plan.words),
    )
    texts = []
    for paragraph in read_squad(SAMPLE).paragraphs[:NUM_EXAMPLES]:
        answers = [answer for question in paragraph.questions for answer in question.answers]
        [variant] = augmenter.augment(
            paragraph.context,
            answers,
            copies=1,
            replace_probability=plan.replace_probability,
            seed=plan.seed,
            keep_words=plan.keep_words,
        )
        texts.append(mark(variant.text, variant.answers, variant.replaced))
    return {"mlm": Path(mlm).name, "glove": Path(glove).name, "texts": texts}
