"""A build that would change nothing stops, says why, and goes on when that is meant."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from augment.base.set_records import read_manifest
from augment.build import BuildConfig, build
from augment.building.effect import check_copies, effect
from augment.check import check
from tests.word_scripts import contexts

VECTORS = Path(__file__).parent / "pins/inputs/vectors.txt"


def config(tmp_path: Path, language: str, text: str) -> BuildConfig:
    answers = [{"text": text[:2], "answer_start": 0}]
    qas = [{"id": "q", "question": "?", "answers": answers, "is_impossible": False}]
    data = [{"title": "T", "paragraphs": [{"context": text, "qas": qas}]}]
    train = tmp_path / "train.json"
    train.write_text(json.dumps({"data": data}), "utf-8")
    return BuildConfig(
        train=str(train),
        out=tmp_path / "set",
        mlm="none",
        glove=str(VECTORS),
        language=language,
        copies_per_example=2,
        num_workers=1,
    )


def test_another_script_than_the_rule_for_words(tmp_path: Path) -> None:
    given = config(tmp_path, "en", contexts("zh")[0])
    with pytest.raises(ValueError, match=r"0\.0% of the words have candidates.*pass --language"):
        build(given)
    assert not given.out.exists()
    build(replace(given, allow_unchanged=True))
    assert check(given.out)["rows"] == 3
    assert effect(read_manifest(given.out)) == {"words_replaced": 0, "copies_equal": 1}


def test_a_masked_lm_that_does_not_know_the_text(tmp_path: Path) -> None:
    given = replace(config(tmp_path, "th", contexts("th")[0]), mlm="embedded")
    with pytest.raises(ValueError, match=r"embedded knows 0\.0% .*xlm-roberta-base.*--mlm none"):
        build(given)


@pytest.mark.parametrize(("equal", "said"), [(51, "error"), (20, "warning"), (5, "")])
def test_copies_that_equal_their_original(
    equal: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = SimpleNamespace(name="train")
    plan = SimpleNamespace(replace_probability=0.4, copies_per_example=10, input=name)
    names = ("replaced_by_masked_lm", "replaced_by_glove", "words")
    counts = {**dict.fromkeys(names, 1), "copies_equal_to_original": equal}
    manifest: Any = SimpleNamespace(plan=plan, counts=counts, input_counts={"paragraphs": 10})
    if said == "error":
        with pytest.raises(ValueError, match=r"train: 51\.0% of the copies.*--allow-unchanged"):
            check_copies(manifest, False)
        check_copies(manifest, True)
    else:
        check_copies(manifest, False)
        assert capsys.readouterr().err.startswith(said)
