"""A data set in memory or streamed becomes the rows that a build of it writes."""

import datasets
import pytest

from augment.augmenter import Augmenter, CopyRule, augment_dataset
from augment.shards import SCHEMA
from augment.squad import read_squad
from tests.test_inputs import ROWS, table


@pytest.fixture(scope="module")
def augmenter() -> Augmenter:
    return Augmenter.load("none", "embedded")


def test_rows_of_a_dataset(augmenter: Augmenter) -> None:
    rows = table(ROWS[:40])
    found = augment_dataset(rows, augmenter, CopyRule(copies=2, seed=3))
    assert isinstance(found, datasets.Dataset)
    assert found.data.schema.equals(SCHEMA)
    assert found.column_names == SCHEMA.names
    assert len(found) == 3 * 40
    assert read_squad(row for row in found if row["copy_index"] == 0).counts["questions"] == 40
    for row in found:
        for text, start in zip(*row["answers"].values(), strict=True):
            assert row["context"][start : start + len(text)] == text
    first = read_squad(rows).paragraphs[0]
    answers = [answer for question in first.questions for answer in question.answers]
    alone = augmenter.augment(first.context, answers, copies=2, seed=3)
    made = {row["context"] for row in found if row["copy_index"] == 1}
    assert alone[0].text in made


def test_a_stream_stays_lazy_and_gives_the_same(augmenter: Augmenter) -> None:
    rows = table(ROWS[:20])
    rule = CopyRule(copies=1)
    streamed = augment_dataset(rows.to_iterable_dataset(), augmenter, rule)
    assert isinstance(streamed, datasets.IterableDataset)
    assert list(streamed) == list(augment_dataset(rows, augmenter, rule))


def test_faults_are_told(augmenter: Augmenter) -> None:
    wrong = [{**ROWS[0], "answers": {"text": ["x"], "answer_start": [-1]}}]
    with pytest.raises(ValueError, match="lies outside"):
        augment_dataset(table(wrong), augmenter)
    with pytest.raises(ValueError, match="copies 0: must be 1 or more"):
        CopyRule(copies=0)
