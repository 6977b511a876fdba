"""Words of every script: found, replaced by words of the same script, and nothing else touched."""

import json
import unicodedata
from pathlib import Path

import pytest

from augment.augmenter import Augmenter
from augment.base.set_records import read_manifest
from augment.build import BuildConfig, build
from augment.check import check
from augment.fitting.glove_fit import fitted_to
from augment.variants.scripts import letters_of
from augment.variants.words import find_words, kind_of, may_replace
from tests.word_scripts import LANGUAGES, contexts


def words(text: str, language: str) -> list[str]:
    return [text[start:end] for start, end in find_words(text, language)]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "渔夫出售木船。", ["渔夫", "出售", "木船", "。"]),
        ("zh", "😀渔夫 1871年", ["😀", "渔夫", "1871", "年"]),  # ICU counts the emoji twice
        ("th", "ชาวประมงขายเรือ", ["ชาว", "ประมง", "ขาย", "เรือ"]),
        ("hi", "हिन्दी में।", ["हिन्दी", "में", "।"]),
        ("de", "Das Haus, z.B.", ["Das", "Haus", ",", "z.B", "."]),
        ("de", unicodedata.normalize("NFD", "Mädchen"), [unicodedata.normalize("NFD", "Mädchen")]),
        ("ru", "мост\u00a0дом", ["мост", "дом"]),
    ],
)
def test_words(language: str, text: str, expected: list[str]) -> None:
    assert words(text, language) == expected


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("мост", "CYRILLIC"),
        ("हिन्दी", "DEVANAGARI"),
        ("e\u0301te\u0301", "LATIN"),
        ("食べる", "CJK"),
        ("می\u200cرود", "ARABIC"),
        ("ˈ", "MODIFIER"),
        ("c3", None),
        ("\u0301a", None),
        ("", None),
    ],
)
def test_letters(word: str, script: str | None) -> None:
    assert letters_of(word) == script


def test_stop_words_and_kinds() -> None:
    assert not may_replace("und", "content", "de")
    assert may_replace("Haus", "content", "de")
    assert not may_replace(unicodedata.normalize("NFD", "für"), "content", "de")
    assert kind_of("в", "ru") != kind_of("in", "ru")
    assert kind_of("1871", "ru") == "word"
    assert kind_of("。", "zh") == "marks"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_tenth_of_the_words_is_replaced(language: str) -> None:
    texts, code = contexts(language), language.removesuffix("-decomposed")
    augmenter = Augmenter.load("none", str(fitted_to(texts, language=code)), language=code)
    replaced = total = 0
    for text in texts:
        start, end = find_words(text, code)[3]
        answer = (text[start:end], start)
        total += 5 * len(find_words(text, code))
        for copy in augmenter.augment(text, [answer], copies=5):
            replaced += len(copy.replaced)
            (moved,) = copy.answers
            assert copy.text[moved.start : moved.end] == moved.text == answer[0]
            undone = copy.text
            for begin, stop, word in reversed(copy.replaced):
                assert letters_of(undone[begin:stop]) == letters_of(word) is not None
                undone = undone[:begin] + word + undone[stop:]
            assert undone == text
    print(language, f"{replaced / total:.1%}")
    assert replaced / total > 0.1


def test_a_chinese_set_is_built(tmp_path: Path) -> None:
    data = []
    for number, text in enumerate(contexts("zh")):
        answers = [{"text": text[:2], "answer_start": 0}]
        qas = [{"id": str(number), "question": "谁？", "answers": answers, "is_impossible": False}]
        data.append({"title": "河", "paragraphs": [{"context": text, "qas": qas}]})
    train = tmp_path / "zh.json"
    train.write_text(json.dumps({"data": data}, ensure_ascii=False), encoding="utf-8")
    out = tmp_path / "set"
    build(BuildConfig(train=str(train), out=out, mlm="none", language="zh", num_workers=1))
    assert read_manifest(out).plan.language == "zh"
    assert check(out)["rows"] == 16 * 21
