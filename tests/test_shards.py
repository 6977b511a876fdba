"""Shards: what is written is what is read back, and nothing else passes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from augment import shards
from augment.base.paragraphs import Answer, Paragraph, Question
from augment.shards import (
    SCHEMA,
    AugmentedParagraph,
    read_shard,
    row_id,
    shard_name,
    shard_names,
    write_shard,
)
from augment.variants.replace import make_variants
from augment.variants.store import MASKED_LM, Slot

TEXT = "The old lighthouse near Calais"


def paragraph(text: str = TEXT, start: int = 24, copies: int = 3) -> AugmentedParagraph:
    """A question on "Calais" and one without an answer; "old" has candidates."""
    questions = (
        Question("q", "Where?", (Answer("Calais", start),), False),
        Question("none", "Who?", (), True),
    )
    slots = [Slot(4, 7, ("new", "ancient", "tiny"), MASKED_LM)]
    variants = make_variants(text, slots, [(24, 30)], copies=copies, replace_probability=1, seed=0)
    return AugmentedParagraph(Paragraph("Title", text, questions), variants)


def test_rows_are_the_originals_then_each_copys(tmp_path: Path) -> None:
    path = tmp_path / "shard.arrow"
    rows, size = write_shard(path, [paragraph()])
    batches = list(read_shard(path))
    table = pa.Table.from_batches(batches).to_pylist()
    assert rows == len(table) == 8
    in_memory = sum(batch.get_total_buffer_size() for batch in batches)
    assert size == pytest.approx(in_memory, rel=0.1)  # reading pads buffers
    assert [row["id"] for row in table[:4]] == ["q", "none", "q#01", "none#01"]
    assert [row["copy_index"] for row in table] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {row["source_id"] for row in table} == {"q", "none"}
    assert table[0]["context"] == TEXT
    assert {row["context"] for row in table[2:]} == {
        TEXT.replace("old", word) for word in ("new", "ancient", "tiny")
    }
    for row in table:
        assert row["is_impossible"] == (row["source_id"] == "none")
        expected = [] if row["is_impossible"] else [row["context"].index("Calais")]
        assert row["answers"]["answer_start"] == expected
        assert row["answers"]["text"] == ["Calais"] * len(expected)


def test_names() -> None:
    assert shard_name(7, 64) == "train-00007-of-00064.arrow"
    assert shard_name(9998, 9999) == "train-09998-of-09999.arrow"
    assert shard_name(0, 10000) == "0000/train-000000-of-010000.arrow"
    names = shard_names(123_456)
    assert names[-1] == "0123/train-123455-of-123456.arrow"
    assert sorted(names) == names
    assert max(Counter(Path(name).parent for name in names).values()) < 10_000
    assert (row_id("q", 0), row_id("q", 7), row_id("q", 20)) == ("q", "q#07", "q#20")


def test_a_wrong_span_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"q, copy 0: .* is ' Calai', the answer"):
        write_shard(tmp_path / "shard.arrow", [paragraph(start=23)])


def test_batches_end_at_their_rows_or_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sizes() -> list[int]:
        write_shard(tmp_path / "shard.arrow", [paragraph()])
        return [batch.num_rows for batch in read_shard(tmp_path / "shard.arrow")]

    assert sizes() == [8]
    monkeypatch.setattr(shards, "BATCH_ROWS", 3)
    assert sizes() == [3, 3, 2]
    monkeypatch.setattr(shards, "BATCH_ROWS", 8)
    monkeypatch.setattr(shards, "BATCH_CHARACTERS", 2 * len(TEXT))  # two originals; copies differ
    assert sizes()[0] == 2
    assert sum(sizes()) == 8


def another(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same batch, one letter of one title other: as a disk that flips a bit."""
    titles = ["Titel", *batch["title"].to_pylist()[1:]]
    return batch.set_column(1, SCHEMA.field("title"), pa.array(titles))


@pytest.mark.parametrize(
    "fault",
    [
        lambda write, batch: write(another(batch)),
        lambda write, batch: None,  # lost
        lambda write, batch: [write(batch), write(batch)],
    ],
    ids=["changed", "lost", "twice"],
)
def test_what_was_read_back_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., Any]
) -> None:
    new_file = pa.ipc.new_file

    class Faulty:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.writer = new_file(*arguments, **options)

        def __enter__(self) -> "Faulty":
            return self

        def __exit__(self, *_: object) -> None:
            self.writer.close()

        def write_batch(self, batch: pa.RecordBatch) -> None:
            fault(self.writer.write_batch, batch)

    monkeypatch.setattr(pa.ipc, "new_file", Faulty)
    with pytest.raises(ValueError, match=r"shard\.arrow: what was read back is not what"):
        write_shard(tmp_path / "shard.arrow", [paragraph()])


def test_only_whole_files_of_our_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "shard.arrow"
    with pa.ipc.new_file(str(path), pa.schema([("id", pa.string())])):
        pass
    with pytest.raises(ValueError, match=r"shard\.arrow: other columns than ours: \['id'\]"):
        list(read_shard(path))
    write_shard(path, [paragraph()])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"shard\.arrow: not a whole Arrow file"):
        list(read_shard(path))
    with pytest.raises(ValueError, match=r"absent\.arrow: not a whole Arrow file"):
        list(read_shard(tmp_path / "absent.arrow"))
