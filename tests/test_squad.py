"""Reading SQuAD: what is accepted, what is refused and how, what is dropped or mended."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.base.paragraphs import Answer, span_fault
from augment.build import BuildConfig, build
from augment.squad import SquadSet, read_squad
from tests.small_sets import CONTEXT, SECOND, answer, question, small_set, squad

Write = Callable[[Any], Path]
EMOJI = "A 😀 near Calais, the café\u0301 of Leroy."


def one(context: str, *questions: dict[str, Any]) -> dict[str, Any]:
    return squad([(context, list(questions))])


def spans(found: SquadSet) -> list[tuple[str, int]]:
    return [(a.text, a.start) for p in found.paragraphs for q in p.questions for a in q.answers]


def test_the_small_set(train: Path) -> None:
    found = read_squad(train)
    assert [len(paragraph.questions) for paragraph in found.paragraphs] == [6, 2, 1]
    assert found.paragraphs[0].title == "Title 0"
    assert found.paragraphs[1].questions[0].answers == (Answer("lover", SECOND.index("lover")),)
    assert found.counts == {
        "paragraphs": 3,
        "distinct_contexts": 3,
        "questions": 9,
        "impossible_questions": 3,
        "answers": 7,
        "plausible_answers_ignored": 1,
    }
    assert read_squad(train).sha256 == found.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,question\n1,Who?\n", "not valid JSON: Expecting value: line 1 column 1"),
        (b"", "not valid JSON: Expecting value"),
        (b'{"version": "v2.0", "data": [{"title": "T", "para', "line 1 column 45"),
        (json.dumps(small_set()).encode("utf-16"), "not UTF-8 at byte 0; save the file as UTF-8"),
        (json.dumps(small_set()).encode("utf-16-le"), "not valid JSON.*save the file as UTF-8"),
        (json.dumps(small_set()).encode()[:-1] + b"\xe9}", "not UTF-8 at byte"),
        (b'{"data": NaN}', "NaN is not JSON"),
        (b'{"data": [-Infinity]}', "-Infinity is not JSON"),
        (b'{"data": [], "data": []}', "key 'data' occurs twice in one object"),
        (b'{"data": [{"title": "a", "title": "b"}]}', "key 'title' occurs twice"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b'{"data": ' + b"9" * 5000 + b"}", "not valid JSON: Exceeds the limit"),
        (b"[]", "no paragraphs in it"),
        (b'{"a": 1}\n{"b": ', r"line 2: not valid JSON: Expecting value"),
        (b'{"data": {}}', 'no list "data" at the top'),
        (b'{"data": []}', "no paragraphs in it"),
        (b'{"data": [{"title": "T", "paragraphs": []}]}', "no paragraphs in it"),
    ],
)
def test_files_that_are_not_squad(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.json: .*{message}"):
        read_squad(path)


def test_a_byte_order_mark_shifts_nothing(tmp_path: Path, train: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_bytes(b"\xef\xbb\xbf" + train.read_bytes())
    assert read_squad(path).paragraphs == read_squad(train).paragraphs


SPOT = r"data\[0\]\.paragraphs\[0\]"


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ((), "article", r"data\[0\]: expected dict, found str 'article'"),
        (("title",), 7, r"data\[0\]\.title: expected str, found int '7'"),
        (("title",), "\ud800", r"data\[0\]\.title: a lone surrogate at character 0"),
        (("paragraphs",), None, r"data\[0\]\.paragraphs: expected list, found nothing"),
        (("paragraphs", 0), [], rf"{SPOT}: expected dict, found list"),
        (("paragraphs", 0, "context"), None, rf"{SPOT}\.context: expected str, found nothing"),
        (("paragraphs", 0, "context"), "ab\udcff", rf"{SPOT}\.context: .*surrogate at character 2"),
        (("paragraphs", 0, "qas"), {}, rf"{SPOT}\.qas: expected list, found dict"),
        (("paragraphs", 0, "qas", 1), "q", rf"{SPOT}\.qas\[1\]: expected dict"),
        (("paragraphs", 0, "qas", 1, "id"), 5.0, rf"{SPOT}\.qas\[1\]\.id: expected str"),
        (("paragraphs", 0, "qas", 1, "question"), None, rf"{SPOT}\.qas\[1\]\.question: expected"),
        (("paragraphs", 0, "qas", 1, "is_impossible"), "no", r"\.is_impossible: expected bool"),
        (("paragraphs", 0, "qas", 5, "plausible_answers"), 3, r"plausible_answers: expected list"),
        (("paragraphs", 0, "qas", 1, "answers"), None, r"qas\[1\]\.answers: expected list"),
        (("paragraphs", 0, "qas", 1, "answers", 0), "x", r"answers\[0\]: expected dict"),
        (("paragraphs", 0, "qas", 1, "answers", 0, "text"), 1848, r"\.text: expected str"),
        (
            ("paragraphs", 0, "qas", 1, "answers", 0, "answer_start"),
            "3a",
            "expected int, found str",
        ),
        (("paragraphs", 0, "qas", 1, "answers", 0, "answer_start"), 3.0, "found float '3.0'"),
        (("paragraphs", 0, "qas", 1, "answers", 0, "answer_start"), True, "found bool 'True'"),
    ],
)
def test_parts_of_the_wrong_kind(
    write_json: Write, where: tuple[str | int, ...], value: Any, message: str
) -> None:
    content = small_set()
    part: Any = content["data"]
    *way, last = (0, *where)
    for key in way:
        part = part[key]
    part[last] = value
    with pytest.raises(ValueError, match=rf"^train\.json: .*{message}(?s:.)*mend"):
        read_squad(write_json(content))


@pytest.mark.parametrize(
    ("context", "text", "start", "message", "fixed"),
    [
        (CONTEXT, "1848", 0, r"context\[0:4\] is 'The ', the answer is '1848'", 44),
        (CONTEXT, "1848", -1, r"answer_start -1 of '1848' lies outside the \d+ characters", 44),
        (CONTEXT, "1848", 10**12, "answer_start 1000000000000 of '1848' lies outside", 44),
        (CONTEXT, "book.", len(CONTEXT) - 4, "lies outside", len(CONTEXT) - 5),
        (CONTEXT, "keeper", 90, r"context\[90:96\] is", 54),  # 138 is farther
        (CONTEXT, "keeper", 97, r"context\[97:103\] is", 138),
        (EMOJI, "Calais", EMOJI.index("Calais") + 1, "is 'alais,'", 9),  # counted as UTF-16 does
        (EMOJI, "Leroy", len(EMOJI[: EMOJI.index("Leroy")].encode()), "lies outside", 30),  # bytes
        (CONTEXT, "1849", 44, "is '1848', the answer is '1849'", None),
        (CONTEXT, "", 0, "the answer is empty", None),
        (CONTEXT, "OLD", 4, "is 'old', the answer is 'OLD'", None),
        ("", "x", 0, "lies outside the 0 characters", None),
    ],
)
def test_wrong_spans(
    write_json: Write, context: str, text: str, start: int, message: str, fixed: int | None
) -> None:
    wrong = question("q7", {"text": text, "answer_start": start})
    path = write_json(one(context, wrong, question("other")))
    with pytest.raises(
        ValueError, match=rf"^train\.json: question q7: .*{message}(?s:.)*fix .*drop .*to fail$"
    ):
        read_squad(path)
    dropped = read_squad(path, on_bad_answer="drop")
    assert [q.id for p in dropped.paragraphs for q in p.questions] == ["other"]
    assert (dropped.counts["answers_dropped"], dropped.counts["questions_dropped"]) == (1, 1)
    mended = read_squad(path, on_bad_answer="fix")
    assert spans(mended) == ([] if fixed is None else [(text, fixed)])
    assert mended.counts.get("answers_fixed", 0) == (fixed is not None)
    assert mended.counts["questions"] == 1 + (fixed is not None)


def test_a_question_keeps_its_right_answers(write_json: Write) -> None:
    both = question("q", answer(CONTEXT, "Anne Leroy"), {"text": "Leroy", "answer_start": 3})
    found = read_squad(write_json(one(CONTEXT, both)), on_bad_answer="drop")
    assert spans(found) == [("Anne Leroy", CONTEXT.index("Anne"))]
    assert found.counts["answers_dropped"] == 1
    assert "questions_dropped" not in found.counts


@pytest.mark.parametrize(
    "texts",
    [
        ["Anne Leroy", "Leroy, lit"],  # overlap
        ["keeper, Anne Leroy", "Anne"],  # one in the other
        ["1848", "1848"],  # twice
        ["The"],  # at 0
        ["book."],  # at the end
        [CONTEXT],
        ["lighth", "00"],  # in a word, in a number
        [" ", ". "],  # no word at all
    ],
)
def test_spans_that_are_right(write_json: Write, texts: list[str]) -> None:
    path = write_json(one(CONTEXT, question("q", *(answer(CONTEXT, text) for text in texts))))
    assert spans(read_squad(path)) == [(text, CONTEXT.index(text)) for text in texts]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (question("q", answer(CONTEXT, "1848"), is_impossible=True), "is_impossible with answers"),
        (question("q", is_impossible=False), "answerable, no answers"),
        ({"id": "q", "question": "?", "answers": []}, "answerable, no answers"),
        ({"id": "q", "question": "?"}, "answerable, no answers"),
    ],
)
def test_contradictions(write_json: Write, item: dict[str, Any], message: str) -> None:
    path = write_json(one(CONTEXT, item, question("other")))
    with pytest.raises(ValueError, match=rf"question q: {message}"):
        read_squad(path)
    assert read_squad(path, on_bad_answer="drop").counts["questions_dropped"] == 1


@pytest.mark.parametrize("on_bad_answer", ["fail", "drop", "fix"])
def test_duplicate_ids_are_never_dropped(write_json: Write, on_bad_answer: Any) -> None:
    content = squad([(CONTEXT, [question("q")]), (SECOND, [question("q"), question("r")])])
    with pytest.raises(ValueError, match="'q' occurs 2 times\ngive every question an id"):
        read_squad(write_json(content), on_bad_answer=on_bad_answer)


def test_ten_faults_and_the_number(write_json: Write) -> None:
    wrong = [question(f"q{n}", {"text": "1848", "answer_start": n}) for n in range(12)]
    with pytest.raises(ValueError, match="12 faults in all") as caught:
        read_squad(write_json(one(CONTEXT, *wrong)))
    assert str(caught.value).count("question q") == 10


def test_squad_1(write_json: Write) -> None:
    content = one(CONTEXT, question("q", answer(CONTEXT, "1848")))
    del content["data"][0]["paragraphs"][0]["qas"][0]["is_impossible"]
    del content["data"][0]["title"], content["version"]
    content["extra"] = content["data"][0]["extra"] = {"ignored": None}
    found = read_squad(write_json(content))
    assert not found.paragraphs[0].questions[0].is_impossible
    assert found.counts["questions_without_is_impossible"] == 1
    assert found.counts["articles_without_title"] == 1


def test_paragraphs_without_questions_are_counted(write_json: Write) -> None:
    found = read_squad(write_json(squad([(CONTEXT, []), (SECOND, [question("q")])])))
    assert found.counts["paragraphs"] == 2
    assert found.counts["paragraphs_without_questions"] == 1


def test_limit_takes_the_first(train: Path) -> None:
    found = read_squad(train).limit(2)
    assert [len(paragraph.questions) for paragraph in found.paragraphs] == [6, 2]
    assert (found.counts["paragraphs"], found.counts["questions"]) == (2, 8)
    assert read_squad(train).limit(None) == read_squad(train)


@pytest.mark.parametrize("name", ["gone.json", "./gone", "/gone/gone", "a/b/c", "~/gone"])
def test_nothing_of_that_name(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file or folder"):
        read_squad(name)


def test_a_folder_that_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it"):
        read_squad(tmp_path)


def test_a_set_gives_its_originals(train: Path, glove_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    build(BuildConfig(train=str(train), out=out, mlm="none", glove=str(glove_file), num_workers=1))
    assert read_squad(out).paragraphs == read_squad(train).paragraphs
    (out / "manifest.json").unlink()  # its copies are not taken for originals
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it, so not a finished set"):
        read_squad(out)


ROWS = [
    {
        "id": item["id"],
        "title": article["title"],
        "context": article["paragraphs"][0]["context"],
        "question": item["question"],
        "answers": {
            "text": [a["text"] for a in item["answers"]],
            "answer_start": [a["answer_start"] for a in item["answers"]],
        },
    }
    for article in small_set()["data"]
    for item in article["paragraphs"][0]["qas"]
]


def from_hub(monkeypatch: pytest.MonkeyPatch, rows: Any, name: str = "rajpurkar/squad_v2") -> Any:
    def load_dataset(asked: str, config: str | None, split: str) -> Any:
        assert (asked, config, split) == (name, None, "train")
        if isinstance(rows, Exception):
            raise rows
        return rows

    def hf_hub_download(*args: str, **kwargs: str) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    return read_squad(name)


def test_hub_rows(monkeypatch: pytest.MonkeyPatch, train: Path) -> None:
    found = from_hub(monkeypatch, ROWS)
    assert found.paragraphs == read_squad(train).paragraphs
    assert found.name == "rajpurkar/squad_v2"
    assert found.sha256 != from_hub(monkeypatch, ROWS[:-1]).sha256
    assert from_hub(monkeypatch, ROWS, "squad_v1.1").paragraphs == found.paragraphs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 7.5}, r"row 1\.id: expected str, found float '7\.5'"),
        ({"context": None}, r"row 1\.context: expected str, found nothing"),
        ({"answers": None}, r"row 1\.answers: expected list, found nothing"),
        ({"answers": [{"text": "1848", "answer_start": None}]}, r"answers\[0\].*found nothing"),
        ({"answers": "['1848']"}, r"row 1\.answers: not JSON"),
        ({"answers": {"text": ["1848"]}}, r"row 1\.answers\.answer_start: expected list"),
        ({"answers": {"text": ["a", "b"], "answer_start": [1]}}, "2 text but 1 answer_start"),
        ({"answers": {"text": ["a"], "answer_start": ["b"]}}, "expected int, found str 'b'"),
        ({"answers": {"text": ["1848"], "answer_start": [3]}}, "question who: context"),
        ({"is_impossible": True}, "question who: is_impossible with answers"),
        ({"is_impossible": 2}, r"row 1\.is_impossible: expected bool"),
        ({"id": "year"}, "question id 'year' occurs 2 times"),
    ],
)
def test_hub_rows_that_are_not_squad(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    rows = copy.deepcopy(ROWS)
    rows[1].update(change)
    with pytest.raises(ValueError, match=rf"^rajpurkar/squad_v2: .*{message}"):
        from_hub(monkeypatch, rows)


def test_what_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"rajpurkar/squad_v2: neither a file.*no network"):
        from_hub(monkeypatch, ConnectionError("no network"))
    with pytest.raises(ValueError, match="squad_v2: Unknown split\n--config and --split choose"):
        from_hub(monkeypatch, ValueError("Unknown split"))


@pytest.mark.parametrize(
    ("context", "text", "start", "right"),
    [
        ("abc", "abc", 0, True),
        ("abc", "c", 2, True),
        ("abc", "c", 3, False),
        ("abc", "c", -1, False),  # Python would find it there
        ("abc", "", 1, False),
        ("e\u0301", "é", 0, False),  # composed is another text
    ],
)
def test_span_fault(context: str, text: str, start: int, right: bool) -> None:
    assert (span_fault(context, text, start) is None) == right
