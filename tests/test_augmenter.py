"""The library: the same variants as a build, answers moved, the text otherwise untouched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.augmenter import AugmentedText, Augmenter
from augment.base.paragraphs import Answer, span_fault
from augment.build import BuildConfig, build
from augment.shards import read_rows
from augment.squad import read_squad
from tests.small_sets import CONTEXT, SECOND


@pytest.fixture(scope="module")
def augmenter(glove_file: Path) -> Augmenter:
    """One without a model: every word gets its neighbours."""
    return Augmenter.load("none", str(glove_file), words="all")


def put_back(variant: AugmentedText) -> str:
    """Undo a variant's replacements."""
    text = variant.text
    for start, end, old in reversed(variant.replaced):
        text = text[:start] + old + text[end:]
    return text


def same_as_a_build(train: Path, out: Path, mlm: str, glove: str, **more: Any) -> None:
    build(BuildConfig(train=str(train), out=out, mlm=mlm, glove=glove, num_workers=1, **more))
    augmenter = Augmenter.load(mlm, glove)
    rows = {row["id"]: row for row in read_rows(out)}
    replaced = 0
    for paragraph in read_squad(train).paragraphs:
        answers = [answer for question in paragraph.questions for answer in question.answers]
        variants = augmenter.augment(paragraph.context, answers, seed=more.get("seed", 0))
        for number, variant in enumerate(variants, 1):
            replaced += len(variant.replaced)
            texts, starts = [], []
            for question in paragraph.questions:
                row = rows[f"{question.id}#{number:02d}"]
                assert row["context"] == variant.text
                texts += row["answers"]["text"]
                starts += row["answers"]["answer_start"]
            moved = [Answer(*pair) for pair in zip(texts, starts, strict=True)]
            assert list(variant.answers) == moved
    assert replaced > 100


def test_the_variants_of_a_build(train: Path, tmp_path: Path, glove_file: Path) -> None:
    same_as_a_build(train, tmp_path / "set", "none", str(glove_file), seed=3)


@pytest.mark.slow
def test_the_variants_of_a_build_with_a_model(
    train: Path, tmp_path: Path, glove_file: Path, tiny_bert: Path
) -> None:
    same_as_a_build(train, tmp_path / "set", str(tiny_bert), str(glove_file))


PIECES = st.sampled_from(
    [
        *("The ", "lighthouse", "keeper's ", "LAMP ", "Calais, ", "1848.", "café ", "[MASK] "),
        *(
            "\n\n",
            "\t",
            "  ",
            "\u00a0",
            "\u200b",
            "“",
            "” ",
            "😀",
            "e\u0301 ",
            "שלום ",
            "漢字",
            "##ing",
        ),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=20).map("".join), st.data())
def test_replaced_words_put_back_give_the_original(
    augmenter: Augmenter, text: str, data: st.DataObject
) -> None:
    places = st.integers(0, len(text))
    pairs = [sorted(data.draw(st.tuples(places, places))) for _ in range(3)]
    answers = [Answer(text[start:end], start) for start, end in pairs if start < end]
    variants = augmenter.augment(text, answers, copies=3, replace_probability=0.8)
    assert len(variants) == 3
    for variant in variants:
        assert put_back(variant) == text
        assert [answer.text for answer in variant.answers] == [answer.text for answer in answers]
        for answer in variant.answers:
            assert span_fault(variant.text, answer.text, answer.start) is None
            for start, end, _ in variant.replaced:
                assert end <= answer.start or answer.end <= start


def test_real_contexts(shared: Path, augmenter: Augmenter) -> None:
    for paragraph in read_squad(shared / "data/squad/dev-v2.0.json").paragraphs[::60]:
        answers = {answer for question in paragraph.questions for answer in question.answers}
        for variant in augmenter.augment(paragraph.context, answers, copies=2):
            assert put_back(variant) == paragraph.context
            assert variant.text != paragraph.context


def test_answers_move(augmenter: Augmenter) -> None:
    answer = ("Anne Leroy", CONTEXT.index("Anne Leroy"))
    variants = augmenter.augment(CONTEXT, [answer], copies=20, replace_probability=1)
    assert {variant.answers[0].start for variant in variants} != {answer[1]}
    for variant in variants:
        start = variant.answers[0].start
        assert variant.text[start : start + 10] == "Anne Leroy"


def test_the_seed_decides(augmenter: Augmenter) -> None:
    first = augmenter.augment(CONTEXT, copies=5, seed=1)
    assert augmenter.augment(CONTEXT, copies=5, seed=1) == first
    assert augmenter.augment(CONTEXT, copies=3, seed=1) == first[:3]
    assert augmenter.augment(CONTEXT, copies=5, seed=2) != first


@pytest.mark.parametrize("word", ["keeper", "KEEPER"])
def test_kept_words_stay_in_any_case(augmenter: Augmenter, word: str) -> None:
    text = "The keeper and the Keeper of a KEEPER."
    for variant in augmenter.augment(text, keep_words=[word], replace_probability=1):
        olds = {old.lower() for _, _, old in variant.replaced}
        assert olds == {"the", "and", "of", "a"}


def test_probability_0_is_the_identity(augmenter: Augmenter) -> None:
    variants = augmenter.augment(SECOND, copies=2, replace_probability=0)
    assert variants == [AugmentedText(SECOND, (), ())] * 2


@pytest.mark.parametrize("text", ["", " \n", "。。。 \u200b 😀", "."])
def test_texts_without_words(augmenter: Augmenter, text: str) -> None:
    assert [variant.text for variant in augmenter.augment(text, copies=2)] == [text] * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a.augment(CONTEXT, [("1848", 0)]), r"context\[0:4\] is 'The ', the answer is"),
        (lambda a: a.augment(CONTEXT, [("1848", -1)]), "answer_start -1 of '1848' lies outside"),
        (lambda a: a.augment(CONTEXT, [("", 3)]), "the answer is empty"),
        (lambda a: a.augment(CONTEXT, copies=0), "copies 0: must be 1 or more"),
        (lambda a: a.augment(CONTEXT, replace_probability=1.1), r"1\.1: must be 0 to 1"),
        (lambda a: a.augment(CONTEXT, replace_probability=float("nan")), "nan: must be 0 to 1"),
        (lambda a: Augmenter.load("none", "fit"), "'fit' needs a corpus; pass a file"),
        (lambda a: Augmenter.load("none", "none", num_candidates=0), "num_candidates 0: must be"),
    ],
)
def test_bad_arguments(
    augmenter: Augmenter, call: Callable[[Augmenter], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(augmenter)


@pytest.mark.parametrize(
    ("mlm", "glove", "message"),
    [
        ("./gone", "none", "./gone: no such model folder"),
        ("none", "gone.txt", r"gone\.txt: no such file of vectors"),
    ],
)
def test_nothing_of_that_name(mlm: str, glove: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        Augmenter.load(mlm, glove)
