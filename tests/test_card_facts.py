"""What a card says of its texts, and what a person wrote into it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from augment.build import BuildConfig, build
from augment.card import CardConfig, _main
from augment.cards.facts import Told, inherited, known_source
from augment.cards.handwork import signed, write_signed
from augment.check import check
from augment.export import ExportConfig, export

SAMPLE = Path(__file__).parents[1] / "augment/embedded/sample-train-v2.0.json"
SQUAD_2 = "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002"


def head(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    return found


def section(folder: Path, title: str) -> str:
    text = (folder / "README.md").read_text("utf-8")
    return " ".join(text.partition(f"\n## {title}\n")[2].partition("\n## ")[0].split())


def build_from(source: Path | str, glove_file: Path, out: Path, **flags: Any) -> Path:
    build(
        BuildConfig(
            train=str(source),
            out=out,
            mlm="none",
            glove=str(glove_file),
            num_workers=1,
            allow_unchanged=True,
            **flags,
        )
    )
    return out


def test_nothing_is_said_of_what_is_not_known(
    train: Path, glove_file: Path, tmp_path: Path
) -> None:
    out = build_from(train, glove_file, tmp_path / "set")
    text = (out / "README.md").read_text("utf-8")
    for claim in ("Wikipedia", "SA 4.0", "SA-4.0", "cc-by", "crowd", "rajpurkar"):
        assert claim not in text
    said = section(out, "Licence and sources")
    for name in ("language", "licence", "source", "annotators"):
        assert f"- {name}: not known" in said
    assert "split the set by `source_id`" in section(out, "Known limits")
    assert "SQuAD's F1 compares words that are parted by spaces" in section(out, "Known limits")


def test_a_known_input_needs_no_flags(glove_file: Path, tmp_path: Path) -> None:
    out = build_from(SAMPLE, glove_file, tmp_path / "set")
    assert (head(out)["language"], head(out)["license"]) == (["en"], "mit")
    assert "written for twentyfold" in section(out, "Licence and sources")
    squad = known_source("train-v2.0.json", SQUAD_2)
    assert squad is not None
    assert squad is known_source("rajpurkar/squad_v2", "any")
    assert squad.facts["license"] == "cc-by-sa-4.0"
    assert squad.facts["source_datasets"] == ["extended|squad_v2"]
    assert known_source("train-v2.0.json", "another") is None
    assert known_source("squad_v2", "another") is None  # a file may be called so


TOLD = Told(language=("de",), license="cc-by-4.0", source=("deepset/germanquad",))


def test_what_is_told_stands_in_the_card_and_stays(
    train: Path, glove_file: Path, tmp_path: Path
) -> None:
    out = build_from(train, glove_file, tmp_path / "set", input=TOLD)
    wanted = {"language": ["de"], "license": "cc-by-4.0", "multilinguality": ["monolingual"]}
    assert wanted.items() <= head(out).items()
    said = section(out, "Licence and sources")
    assert "- language: `de` - licence: `cc-by-4.0` - source: `deepset/germanquad` - anno" in said
    _main(CardConfig(out=out, input=Told(annotators=("expert-generated",))))
    assert wanted.items() <= head(out).items()
    assert head(out)["annotations_creators"] == ["expert-generated"]
    assert head(out)["language_creators"] == ["machine-generated"]
    check(out)
    export(ExportConfig(out=out, dest=tmp_path / "parquet", to="parquet"))
    assert wanted.items() <= head(tmp_path / "parquet").items()
    for source in ("set", "parquet"):
        again = build_from(tmp_path / source, glove_file, tmp_path / f"of-{source}", num_shards=1)
        assert wanted.items() <= head(again).items()


@pytest.mark.parametrize(
    ("field", "word"), [("language", ("German",)), ("license", "CC"), ("annotators", ("me",))]
)
def test_a_word_that_the_hub_does_not_know(field: str, word: Any) -> None:
    with pytest.raises(ValueError, match="not one of the hub's words for"):
        Told(**{field: word})


def test_what_is_inherited_of_a_card() -> None:
    given = {
        "language": ["pt-BR", "xyz"],
        "license": ["my-own"],
        "source_datasets": ["original", "extended|squad"],
        "annotations_creators": "crowdsourced",
        "pretty_name": "x",
    }
    assert inherited(given) == {
        "language": ["pt"],
        "license": "other",
        "source_datasets": ["extended|squad"],
        "annotations_creators": ["crowdsourced"],
    }
    assert inherited({"license": None}) == {}


CARD = """---
license: mit
tags:
- one
---

# A set

Of rows.

## How it was made

```
## not a section
```

## Known limits

- One.
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    write_signed(path, signed(CARD))
    return path


def change(path: Path, was: str, becomes: str) -> None:
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes))


def test_a_card_that_nobody_touched_is_written_anew(card: Path, capsys: Any) -> None:
    assert card.read_text().startswith(CARD)
    newer = signed(CARD.replace("One.", "Two.").replace("license: mit", "license: isc"))
    write_signed(card, newer)
    assert card.read_text() == newer
    assert capsys.readouterr().err == ""


def test_what_a_person_wrote_stays(card: Path, capsys: Any) -> None:
    change(card, "- One.", "- One.\n- Mine.")
    change(card, "tags:\n- one", "tags:\n- one\n- mine\nbase: mine")
    change(card, "## Known", "## Thanks\n\nTo all.\n\n## Known")
    for _ in range(2):
        newer = CARD.replace("license: mit", "license: isc").replace("# A set", "# Another set")
        write_signed(card, signed(newer.replace("- One.", "- Two.")))
        text = card.read_text()
        assert capsys.readouterr().err == (
            f"{card}: kept as written by hand: tags, base, Thanks, Known limits\n"
        )
        found = yaml.safe_load(text.split("---\n")[1])
        assert found == {"license": "isc", "tags": ["one", "mine"], "base": "mine"}
        titles = re.findall("^#+ .*", text, re.MULTILINE)
        wanted = ["# Another set", "## How it was made", "## not a section", "## Thanks"]
        assert titles == [*wanted, "## Known limits"]
        assert "- One.\n- Mine.\n" in text
        assert "To all." in text
        assert "- Two." not in text


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("license: mit", "license: [", "its head is not YAML"),
        ("---\nlicense: mit\ntags:\n- one\n---\n", "", "it has no head"),
        ("<!-- twentyfold", "<!-- ", "not a card that was written here"),
    ],
)
def test_a_card_that_cannot_be_told_apart(card: Path, was: str, becomes: str, message: str) -> None:
    change(card, was, becomes)
    before = card.read_bytes()
    with pytest.raises(ValueError, match=message):
        write_signed(card, signed(CARD))
    assert card.read_bytes() == before
