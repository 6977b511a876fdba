"""Every form that people keep question-answering data in is read to the same questions."""

import copy
import csv
import gzip
import json
import lzma
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from augment.base.paragraphs import Answer, Paragraph
from augment.inputs.spelling import relocate
from augment.squad import Part, SquadSet, read_squad
from eval.scoring.gold import read_gold

SAMPLE = Path(__file__).parents[1] / "augment/embedded/sample-train-v2.0.json"
CASES = Path(__file__).parents[1].parent / "shared/cases"
CONTENT: dict[str, Any] = json.loads(SAMPLE.read_bytes())
ROWS = [
    {
        "id": item["id"],
        "title": article["title"],
        "context": paragraph["context"],
        "question": item["question"],
        "answers": {k: [a[k] for a in item["answers"]] for k in ("text", "answer_start")},
    }
    for article in CONTENT["data"]
    for paragraph in article["paragraphs"]
    for item in paragraph["qas"]
]
STRUCTS = [
    {
        **row,
        "answers": [
            {"text": text, "answer_start": start}
            for text, start in zip(*row["answers"].values(), strict=True)
        ],
    }
    for row in ROWS
]
TEXTS = [{**row, "answers": json.dumps(row["answers"], ensure_ascii=False)} for row in ROWS]
FEATURES = datasets.Features(
    {
        **{name: datasets.Value("string") for name in ("id", "title", "context", "question")},
        "answers": {
            "text": datasets.List(datasets.Value("string")),
            "answer_start": datasets.List(datasets.Value("int32")),
        },
    }
)


def table(rows: list[dict[str, Any]] = ROWS) -> datasets.Dataset:
    return datasets.Dataset.from_list(rows, features=FEATURES)


def changed(change: Callable[[dict[str, Any]], Any]) -> str:
    """Give the sample with a change to each of its questions."""
    content = copy.deepcopy(CONTENT)
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for item in paragraph["qas"]:
                change(item)
    return json.dumps(content)


def asked(found: SquadSet) -> Iterator[tuple[Any, ...]]:
    """Give what must not depend on the form: everything but ids and titles."""
    for paragraph in found.paragraphs:
        for question in paragraph.questions:
            yield paragraph.context, question.text, question.answers, question.is_impossible


def packed(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(SAMPLE, name)
        archive.writestr("__MACOSX/._" + name, b"\0")


def text_starts(item: dict[str, Any]) -> None:
    for answer in item["answers"]:
        answer["answer_start"] = str(answer["answer_start"])


def write_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(TEXTS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(TEXTS)


def in_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_folder(path: Path) -> None:
    table(ROWS[:100]).to_parquet(str(path / "train-00000-of-00002.parquet"))
    table(ROWS[100:]).to_parquet(str(path / "train-00001-of-00002.parquet"))


def write_repository(path: Path) -> None:
    head = "configs:\n- config_name: v2\n  data_files:\n  - split: train\n    path: v2/train-*\n"
    path.mkdir()
    (path / "README.md").write_text(f"---\nlanguage: en\nlicense: mit\n{head}---\n# A set\n")
    table().to_parquet(str(path / "v2/train-00000-of-00001.parquet"))


PLAIN = SAMPLE.read_bytes()
FORMS: dict[str, Callable[[Path], Any]] = {
    "plain.json": lambda path: path.write_bytes(PLAIN),
    "mark.json": lambda path: path.write_bytes(b"\xef\xbb\xbf" + PLAIN),
    "crlf.json": lambda path: path.write_bytes(
        json.dumps(CONTENT, indent=1).replace("\n", "\r\n").encode()
    ),
    "list.json": lambda path: path.write_text(json.dumps(CONTENT["data"])),
    "articles.jsonl": lambda path: path.write_text(in_lines(CONTENT["data"])),
    "extra.json": lambda path: path.write_text(changed(lambda item: item.update(document_id=7))),
    "starts.json": lambda path: path.write_text(changed(text_starts)),
    "train.json.gz": lambda path: path.write_bytes(gzip.compress(PLAIN)),
    "train.json.xz": lambda path: path.write_bytes(lzma.compress(PLAIN)),
    "train.zip": lambda path: packed(path, "train.json"),
    "rows.json": lambda path: path.write_text(json.dumps(ROWS)),
    "data.json": lambda path: path.write_text(json.dumps({"version": 1, "data": ROWS})),
    "rows.jsonl": lambda path: path.write_text(in_lines(ROWS)),
    "lines.json": lambda path: path.write_text(in_lines(ROWS)),
    "structs.jsonl": lambda path: path.write_text(in_lines(STRUCTS)),
    "texts.jsonl.gz": lambda path: path.write_bytes(gzip.compress(in_lines(TEXTS).encode())),
    "rows.csv": write_csv,
    "rows.tsv": lambda path: write_csv(path, "\t"),
    "rows.parquet": lambda path: table().to_parquet(str(path)),
    "parquet": lambda path: table().to_parquet(str(path)),
    "named.json": lambda path: table().to_parquet(str(path)),
    "parquet_folder": write_folder,
    "saved": lambda path: table().save_to_disk(str(path)),
    "saved_dict": lambda path: datasets.DatasetDict({"train": table()}).save_to_disk(str(path)),
    "repository": write_repository,
}


@pytest.fixture(scope="module")
def right() -> list[tuple[Any, ...]]:
    return list(asked(read_squad(SAMPLE)))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read_to_the_same(name: str, right: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    FORMS[name](path)
    found = read_squad(path)
    assert list(asked(found)) == right
    assert [q.id for p in found.paragraphs for q in p.questions] == [row["id"] for row in ROWS]
    assert len(found.paragraphs) == read_squad(SAMPLE).counts["paragraphs"]
    assert read_squad(str(path)).sha256 == found.sha256
    gold, sha256 = read_gold(path, Part(split="train"))
    assert sha256 == found.sha256
    assert [(q.context, q.text) for q in gold] == [entry[:2] for entry in right]


def test_a_packed_table(right: Any, tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv")
    raw = (tmp_path / "rows.csv").read_bytes()
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(raw))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.write(tmp_path / "rows.csv", "rows.csv")
    for name in ("rows.csv.gz", "archive.zip"):
        assert list(asked(read_squad(tmp_path / name))) == right


@pytest.mark.parametrize("form", ["list", "commas", "pattern"])
def test_several_files(form: str, right: Any, tmp_path: Path) -> None:
    half = len(CONTENT["data"]) // 2
    paths = [tmp_path / "a.json", tmp_path / "b.jsonl"]
    paths[0].write_text(json.dumps({"data": CONTENT["data"][:half]}))
    paths[1].write_text(in_lines(CONTENT["data"][half:]))
    forms: dict[str, Any] = {
        "list": paths,
        "commas": ",".join(map(str, paths)),
        "pattern": str(tmp_path / "[ab].json*"),
    }
    found = read_squad(forms[form])
    assert list(asked(found)) == right
    assert found.name == "a.json, b.jsonl"
    assert found.sha256 != read_squad(paths[::-1]).sha256
    paths[1].write_text(in_lines([{**CONTENT["data"][0], "title": 5}]))
    with pytest.raises(ValueError, match=r"b\.jsonl: data\[0\]\.title: expected str"):
        read_squad(paths)


def test_numbers_as_ids(right: Any, tmp_path: Path) -> None:
    numbers = iter(range(100, 1000))
    path = tmp_path / "numbers.json"
    path.write_text(changed(lambda item: item.update(id=next(numbers))))
    found = read_squad(path)
    assert list(asked(found)) == right
    assert found.paragraphs[0].questions[0].id == "100"
    assert found.counts["ids_read_from_numbers"] == len(ROWS)
    assert read_gold(path)[0][0].id == "100"


def test_ids_are_made_of_content(right: Any, tmp_path: Path) -> None:
    path, other = tmp_path / "none.json", tmp_path / "rows.jsonl"
    path.write_text(changed(lambda item: item.pop("id")))
    found = read_squad(path)
    assert list(asked(found)) == right
    ids = [question.id for paragraph in found.paragraphs for question in paragraph.questions]
    assert len(set(ids)) == found.counts["ids_made_from_content"] == len(ROWS)
    other.write_text(in_lines([{**row, "id": None} for row in ROWS]))
    assert [q.id for p in read_squad(other).paragraphs for q in p.questions] == ids
    assert [question.id for question in read_gold(path)[0]] == ids
    other.write_text(in_lines([{**ROWS[0], "id": ""}] * 2))
    assert [q.id for p in read_squad(other).paragraphs for q in p.questions] == [
        ids[0],
        f"{ids[0]}-2",
    ]


def test_cells_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "id,title,context,question,is_impossible,answers\n"
        '007,NA,null,1984,False,"{""text"": [""nu""], ""answer_start"": [0]}"\n'
        "008,None,3.10,NaN,True,\n"
    )
    first, second = read_squad(path).paragraphs
    assert (first.title, first.context, first.questions[0].text) == ("NA", "null", "1984")
    assert first.questions[0].id == "007"
    assert (second.title, second.context) == ("None", "3.10")
    assert second.questions[0].is_impossible


def test_a_column_called_data_is_not_the_list_of_articles(tmp_path: Path, right: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(in_lines([{**row, "data": [1]} for row in ROWS]))
    assert list(asked(read_squad(path))) == right


def test_one_object_a_line(tmp_path: Path) -> None:
    """Neither two on the first line nor a first one over several lines."""
    path = tmp_path / "train.jsonl"
    first, *rest = in_lines(ROWS).splitlines()
    for text in (first + " " + "\n".join(rest), first.replace(",", ",\n", 1) + "\n" + rest[0]):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"train\.jsonl: not valid JSON: Extra data: line "):
            read_squad(path)


def test_copies_of_an_exported_set_are_left_out(tmp_path: Path, right: Any) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{**r, "id": f"{r['id']}{n}", "copy_index": n} for r in ROWS for n in range(2)]
    path.write_text(in_lines(rows))
    found = read_squad(path)
    assert list(asked(found)) == right
    assert found.counts["copies_left_out"] == len(ROWS)


@pytest.mark.parametrize("kind", ["Dataset", "IterableDataset", "DatasetDict", "list"])
def test_rows_in_memory(kind: str, right: Any) -> None:
    forms: dict[str, Any] = {
        "Dataset": table(),
        "IterableDataset": table().to_iterable_dataset(),
        "DatasetDict": datasets.DatasetDict({"train": table()}),
        "list": ROWS,
    }
    found = read_squad(forms[kind])
    assert list(asked(found)) == right
    assert found.sha256 == read_squad(ROWS).sha256


def test_a_folder_says_which_parts_it_has(tmp_path: Path) -> None:
    write_repository(tmp_path / "one")
    with pytest.raises(ValueError, match=r"no split 'test'; name one with --split.*: train"):
        read_squad(tmp_path / "one", split="test")
    datasets.DatasetDict({"a": table(), "b": table()}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"no split 'train'; name one with --split.*: a, b"):
        read_squad(tmp_path / "saved")
    assert read_squad(tmp_path / "saved", split="b").counts["questions"] == len(ROWS)
    more = "- config_name: v1\n  data_files: v2/*\n---"
    readme = tmp_path / "one/README.md"
    readme.write_text(readme.read_text().replace("---\n#", f"{more}\n#"))
    with pytest.raises(ValueError, match=r"(?s)'v1'.*--config and --split"):
        read_squad(tmp_path / "one")
    assert read_squad(tmp_path / "one", config="v1").counts["questions"] == len(ROWS)
    assert read_squad(tmp_path / "one", config="v2").card == {"language": "en", "license": "mit"}


def test_what_is_damaged_is_called_so(tmp_path: Path) -> None:
    parquet, archive = tmp_path / "rows.parquet", tmp_path / "a.zip"
    table().to_parquet(str(parquet))
    parquet.write_bytes(parquet.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"rows\.parquet: cannot be read as parquet"):
        read_squad(parquet)
    with zipfile.ZipFile(archive, "w") as written:
        written.write(SAMPLE, "train.json")
        written.write(SAMPLE, "dev.json")
    with pytest.raises(ValueError, match=r"2 files in it \(train\.json, dev\.json\); unpack it"):
        read_squad(archive)
    for cut in (gzip.compress(PLAIN)[:-20], lzma.compress(PLAIN)[:-20], archive.read_bytes()[:-20]):
        archive.write_bytes(cut)
        with pytest.raises(ValueError, match=r"a\.zip: a damaged archive \(.*fetch it again"):
            read_squad(archive)
    (tmp_path / "latin.csv").write_bytes("id,context\n1,caf\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv: cannot be read as csv.*utf-8"):
        read_squad(tmp_path / "latin.csv")
    (tmp_path / "other.csv").write_text("text,label\nwarm,1\n")
    with pytest.raises(ValueError, match=r"row 0\.context: expected str, found nothing"):
        read_squad(tmp_path / "other.csv")


def test_faults_are_told_by_kind(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    items = content["data"][0]["paragraphs"][0]["qas"]
    items[0]["answers"][0]["answer_start"] += 1
    items[1]["question"] = None
    items[2]["id"] = items[0]["id"]
    content["data"][1] = "article"
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="faults") as caught:
        read_squad(path)
    said = str(caught.value)
    assert said.count("faults.json: ") == 3
    assert "qas[1].question: expected str, found nothing\n  data[1]: expected dict" in said
    assert "pass --on-bad-answer fix" in said
    assert "occurs 2 times\ngive every question an id" in said


COMPOSED, APART = (
    unicodedata.normalize("NFC", "café Noël ệ"),
    unicodedata.normalize("NFD", "café Noël ệ"),
)


@pytest.mark.parametrize(
    ("context", "text", "start", "expected"),
    [
        (f"A {COMPOSED} b", APART, 0, (2, COMPOSED)),
        (f"A {APART} b", COMPOSED, 0, (2, APART)),
        ("10\N{NO-BREAK SPACE}000 men", "10 000", 5, (0, "10\N{NO-BREAK SPACE}000")),
        ("10 000 men", "10\N{NO-BREAK SPACE}000", 0, (0, "10 000")),
        ("a Calais b", " Calais\n", 0, (2, "Calais")),
        ("one, one, one", "one ", 6, (5, "one")),
        (f"the {COMPOSED[:4]}s", "cafe", 0, None),  # an accent is not white space
        (f"the {APART[:5]}\N{NO-BREAK SPACE}s", "cafe s", 0, None),
        (f"my\N{NO-BREAK SPACE}{APART[:5]}", "my cafe", 0, None),
        ("e\u0323\u0302 x", "e\u0302\u0323", 0, (0, "e\u0323\u0302")),  # marks in another order
        ("abc", "   ", 0, None),
    ],
)
def test_what_reads_the_same_is_the_same(
    context: str, text: str, start: int, expected: tuple[int, str] | None
) -> None:
    found = relocate(context, Answer(text, start))
    assert (found and (found.start, found.text)) == expected


def test_fix_mends_decomposed_answers(right: Any, tmp_path: Path) -> None:
    def decompose(item: dict[str, Any]) -> None:
        for answer in item["answers"]:
            answer["text"] = unicodedata.normalize("NFD", answer["text"])

    path = tmp_path / "nfd.json"
    path.write_text(changed(decompose))
    assert list(asked(read_squad(path, on_bad_answer="fix"))) == right


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
def test_cases_from_outside() -> None:
    assert read_squad(CASES / "int_ids.json").paragraphs[0].questions[0].id == "501"
    with pytest.raises(ValueError, match="--on-bad-answer fix"):
        read_squad(CASES / "bad_offset.json")
    fixed: Paragraph = read_squad(CASES / "bad_offset.json", on_bad_answer="fix").paragraphs[0]
    assert fixed.questions[0].answers[0].start == 73


def test_a_limit_limits_the_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    numbered = [{**row, "id": number} for number, row in enumerate(ROWS)]
    path.write_text(in_lines(numbered))
    whole = read_squad(path)
    for number in (1, 3):
        path.write_text(
            in_lines(numbered[: sum(len(p.questions) for p in whole.paragraphs[:number])])
        )
        assert whole.limit(number).counts == read_squad(path).counts
