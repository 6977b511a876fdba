"""Write a large made-up input, to see how a build grows: `python -m tests.many_contexts N FILE`."""

import gzip
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augment.base.models import EMBEDDED

WORDS_PER_CONTEXT = 120


def rows(number: int) -> Iterator[dict[str, Any]]:
    """Give flat rows, one question a context, of words that the embedded vectors know."""
    with gzip.open(EMBEDDED / "glove.txt.gz", "rt", encoding="utf-8") as file:
        words = [word for word in (line.split(" ", 1)[0] for line in file) if word.isalpha()]
    draw = random.Random(0)
    for index in range(number):
        text = draw.choices(words, k=WORDS_PER_CONTEXT)
        answer = text[0]
        yield {
            "id": f"q{index}",
            "title": f"title {index // 40}",
            "context": " ".join(text),
            "question": f"What is before {text[1]}?",
            "answers": {"text": [answer], "answer_start": [0]},
        }


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(int(sys.argv[1])))
