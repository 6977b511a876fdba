"""augment.browse: the index, what a query finds, what a paragraph's view shows, and the file."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from augment.augmenter import Augmenter
from augment.base.set_records import Manifest, read_manifest
from augment.base.toml_files import fill
from augment.browse import BrowseConfig, browse
from augment.browsing.browser import Browser, Sight
from augment.browsing.index import open_index
from augment.browsing.page import counts, paragraph
from augment.browsing.query import Finder, Query
from augment.browsing.views import view
from augment.build import BuildConfig, build
from augment.shards import read_rows
from augment.variants.store import GLOVE, MASKED_LM
from tests.small_sets import CONTEXT, SECOND, answer, question, squad

MARKUP = (
    'The <script>document.title = "broken"</script> keeper lit the ${lamp} {{tower}} & <b>sea</b>'
)
HEBREW = "המגדלור הישן ליד keeper נבנה lamp"
CAFE = "The cafe paid the keeper, and another cafe gave light for the boats every morning."


@pytest.fixture(scope="module")
def small(tmp_path_factory, glove_file, tiny_bert):
    """Five paragraphs in two shards, five copies, from both sources."""
    folder = tmp_path_factory.mktemp("browse")
    data = squad(
        [
            (CONTEXT, [question("year", answer(CONTEXT, "1848")), question("no")]),
            (SECOND, [question("inside", answer(SECOND, "lover")), question("hive")]),
            (MARKUP, [question("<i>", answer(MARKUP, "${lamp}"))]),
            (HEBREW, [question("rtl", answer(HEBREW, "הישן"))]),
            (CAFE, [question("cafe", answer(CAFE, "boats"))]),
        ]
    )
    data["data"][2]["title"] = '<img src="x" onerror="alert(1)">'
    (folder / "train.json").write_text(json.dumps(data))
    out = folder / "set"
    build(
        BuildConfig(
            train=str(folder / "train.json"),
            out=out,
            copies_per_example=5,
            num_shards=2,
            mlm=str(tiny_bert),
            glove=str(glove_file),
            num_workers=1,
            device="cpu",
            dtype="float32",
        )
    )
    return out


@pytest.fixture(scope="module")
def browser(small):
    return Browser(small)


def test_every_paragraph_is_read_as_it_lies_in_the_shards(small):
    index = open_index(small)
    rows = list(read_rows(small))
    assert [row for number in range(5) for row in index.read(number)] == rows
    assert index.titles.to_pylist() == [
        "Title 0",
        "Title 1",
        '<img src="x" onerror="alert(1)">',
        "Title 3",
        "Title 4",
    ]
    assert index.copy_rows.tolist()[-1] == len(rows) == 6 * 7
    assert [index.paragraph_of(one) for one in ("no", "rtl", "nobody")] == [0, 3, None]


def test_a_paragraph_may_lie_in_several_batches(small, monkeypatch, tmp_path, glove_file):
    monkeypatch.setattr("augment.shards.BATCH_ROWS", 5)
    out = tmp_path / "set"
    config = BuildConfig(
        train=str(small.parent / "train.json"), out=out, copies_per_example=5, mlm="none",
        glove=str(glove_file), num_workers=1,
    )  # fmt: skip
    build(config)
    index, rows = open_index(out), list(read_rows(out))
    assert len(index.batches) == 9
    assert [row for number in range(5) for row in index.read(number)] == rows
    hits = {(row["source_id"], row["copy_index"]) for row in rows if "lamp" in row["context"]}
    found = Finder(index).find(Query(text="LAMP"))
    assert len(found.paragraphs) == len({source for source, _ in hits} - {"no"})


@pytest.mark.parametrize(
    ("query", "paragraphs"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"text": "keeper's DAUGHTER"}, [0]),
        ({"text": "what about hive"}, [1]),  # a question
        ({"text": "title 3"}, [3]),
        ({"text": "no"}, [0]),  # an id: not every text with "no" in it
        ({"text": "rtl#03"}, [3]),
        ({"text": "CAFÉ-BEES"}, [1]),
        ({"text": "<script>"}, [2]),
        ({"text": ".*"}, []),
        ({"text": "הישן"}, [3]),
        ({"title": "ITLE 1"}, [1]),
        ({"kind": "unanswerable"}, [0, 1]),
        ({"kind": "unanswerable", "title": "0"}, [0]),
        ({"copy": 6}, []),
        ({"shares": (0.99, 1.0)}, []),
    ],
)
def test_finds_paragraphs(browser, query, paragraphs):
    assert Finder(browser.index).find(Query(**query)).paragraphs.tolist() == paragraphs


def test_finds_copies(small, browser):
    rows = [row for row in read_rows(small) if row["source_id"] == "year"]
    word = next(
        word
        for word in re.findall(r"\w{3,}", rows[2]["context"])
        if word.lower() not in rows[0]["context"].lower()
    )
    holding = [row["copy_index"] for row in rows if word.lower() in row["context"].lower()]
    seen = browser.sight(Query(text=word), 1).paragraph
    assert [copy.number for copy in seen.copies] == holding != [1, 2, 3, 4, 5]
    [copy] = browser.sight(Query(copy=3), 1).paragraph.copies
    assert (copy.number, copy.text) == (3, rows[3]["context"])
    [copy] = browser.sight(Query(text="year#03"), 1).paragraph.copies
    assert copy.number == 3


def test_filters_by_the_share_of_words_replaced(browser):
    every = [c for n in range(1, 6) for c in browser.sight(Query(), n).paragraph.copies]
    shares = sorted({copy.share for copy in every})
    low, high = shares[1], shares[-2]
    query = Query(shares=(low, high))
    found = [
        copy.share
        for place in range(1, browser.count(query) + 1)
        for copy in browser.sight(query, place).paragraph.copies
    ]
    assert found == [copy.share for copy in every if low <= copy.share <= high]
    assert 0 < len(found) < len(every)


def test_marks_what_the_library_says_was_replaced(small, browser, tiny_bert, glove_file):
    augmenter = Augmenter.load(str(tiny_bert), str(glove_file), device="cpu", dtype="float32")
    found = set()
    for position, context, text in ((1, CONTEXT, "1848"), (5, CAFE, "boats")):
        made = augmenter.augment(context, [(text, context.index(text))], copies=5)
        seen = browser.sight(Query(), position).paragraph
        assert [copy.text for copy in seen.copies] == [one.text for one in made]
        sources = {
            slot.start: slot.source for slot in augmenter.candidates([context]).slots(context)
        }
        for copy, one in zip(seen.copies, made, strict=True):
            assert [(r.start, r.end, r.old) for r in copy.replaced] == list(one.replaced)
            assert copy.answers == [(a.start, a.end) for a in one.answers]
            for replaced in copy.replaced:
                assert seen.source_of(replaced.old_start) == sources[replaced.old_start]
                found.add(sources[replaced.old_start])
    assert found == {MASKED_LM, GLOVE}


def test_shows_one_source_alone_and_skips_what_has_none(browser):
    sight = browser.sight(Query(), 1, source=GLOVE)
    assert sight.position == 5
    assert 0 < len(sight.paragraph.copies) <= 5
    for copy in sight.paragraph.copies:
        assert {replaced.old for replaced in copy.replaced} == {"cafe"}
    assert browser.sight(Query(), 99).position == 5
    assert browser.sight(Query(), 4, step=-1).position == 3
    assert browser.sight(Query(text="nowhere at all"), 1) == Sight(0, 0, None)


def test_without_candidates_no_source_is_named(small, tmp_path):
    browser = Browser(small, candidates=tmp_path)
    assert browser.kinds == [None]
    assert 'class="new"' in paragraph(browser.sight(Query(), 1).paragraph)


def test_names_damage(small, tmp_path):
    damaged = shutil.copytree(small, tmp_path / "set")
    shard = damaged / "data" / "train-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match=r"train-00001-of-00002.arrow: damaged or missing"):
        Browser(damaged)
    shutil.copy(small / "data" / shard.name, shard)
    assert Browser(damaged).faults() == []
    manifest = read_manifest(damaged).as_json()
    manifest["shards"][1]["sha256"] = "0" * 64
    (damaged / "manifest.json").write_text(json.dumps(manifest))
    assert Browser(damaged).faults() == [f"{shard.name}: its SHA-256 is not the manifest's"]
    with pytest.raises(ValueError, match="its SHA-256 is not the manifest's"):
        browse(BrowseConfig(folder=damaged, html=tmp_path / "page.html"))


def test_shows_a_readers_answers(small, tmp_path):
    """Columns as `eval.agreement --write` adds them."""
    extended = shutil.copytree(small, tmp_path / "set")
    for path in (extended / "data").iterdir():
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        f1 = pa.array([0.25 if n % 2 else 1.0 for n in range(len(table))])
        answers = pa.array([f"<b>{n}" for n in range(len(table))])
        table = table.append_column("reader_answer", answers).append_column("reader_f1", f1)
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    browser = Browser(extended)
    assert browser.most_f1 == 1.0
    seen = browser.sight(Query(reader_f1=(0.0, 0.5)), 1).paragraph
    assert [reading.f1 for copy in seen.copies for reading in copy.readings] == [1.0, 0.25] * 5
    assert "&lt;b&gt;3</bdi> <small>F1 0.25" in paragraph(seen)
    one = Finder(browser.index).find(Query(reader_f1=(0.0, 0.5), title="onerror"))
    wanted = one.copies & (browser.index.copy_paragraphs == 2)
    assert np.flatnonzero(wanted).size == 4  # the original, and every second of five copies


class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [tag, *(name for name, _ in attrs if name.startswith("on"))]

    def handle_data(self, data):
        self.text += data


def test_all_data_is_escaped(browser):
    page = paragraph(browser.sight(Query(title="onerror"), 1).paragraph)
    tags = Tags(page)
    assert set(tags.found) == set(
        "article h2 div section h3 p span ol li small code bdi ruby rt".split()
    )
    assert 'onerror="alert(1)"' in tags.text
    assert MARKUP in tags.text
    manifest = browser.index.manifest.as_json()
    manifest["plan"]["input"]["name"] = "<script>"
    assert "<script>" not in counts(fill(Manifest, manifest, ""))


def test_a_copy_that_is_none_is_an_error_with_its_row(small):
    rows = open_index(small).read(3)
    rows[2]["context"] += "!"
    with pytest.raises(ValueError, match=r"row rtl#02: not the original's text.*augment.check"):
        view(rows, read_manifest(small).plan)


def test_writes_one_file_that_asks_for_nothing(small, tmp_path, capsys):
    path = tmp_path / "page.html"
    browse(BrowseConfig(folder=small, html=path, paragraphs=3, copies=2))
    assert capsys.readouterr().out == f"{path}: 3 paragraphs, {path.stat().st_size:,} bytes\n"
    page = path.read_text("utf-8")
    assert page.count("<article") == 3
    assert page.count('<div class="copy">') == 6
    assert not re.search(r"https?:|src=|@import|url\(|<link|<script", page.replace("&lt;", ""))
    browse(BrowseConfig(folder=small, html=path, ids=("rtl", "year#04")))
    page = path.read_text("utf-8")
    assert page.count("<article") == 2
    assert page.index("הישן") < page.index("Copy 4")
    with pytest.raises(ValueError, match=r"nobody: no question or row has this id"):
        browse(BrowseConfig(folder=small, html=path, ids=("rtl", "nobody")))


def test_leaves_a_file_of_somebody_else_alone(small, tmp_path):
    path = tmp_path / "notes.html"
    path.write_text("mine")
    with pytest.raises(ValueError, match="exists and was not made here"):
        browse(BrowseConfig(folder=small, html=path))
    assert path.read_text() == "mine"


def test_refuses_what_is_no_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="no manifest"):
        browse(BrowseConfig(folder=tmp_path))
    with pytest.raises(ValueError, match="--copies 0"):
        BrowseConfig(folder=tmp_path, copies=0)
