"""Which tokens stand for whole words, in vocabularies of either style."""

import numpy as np
import pytest

from augment.variants.vocabulary import read_vocabulary


class Stub:
    """What is asked of a tokenizer; `None` is a gap between token ids."""

    def __init__(self, *tokens: str | None) -> None:
        self.all_special_ids, self.added_tokens_decoder = [0, 1], {2: "<added>"}
        self.tokens = ["<s>", "<mask>", "<added>", *tokens]

    def __len__(self) -> int:
        return len(self.tokens)

    def convert_ids_to_tokens(self, ids: range) -> list[str | None]:
        return [self.tokens[i] for i in ids]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens).replace("Ġ", " ").replace("▁", " ").replace("â", "\ufffd")


def words(stub: Stub) -> dict[tuple[bool, str], list[str]]:
    found = read_vocabulary(stub)
    return {key: [found.texts[i] for i in found.ids[part]] for key, part in found.groups.items()}


def test_wordpiece() -> None:
    stub = Stub("the", "[unused7]", "##ing", "1848", ".", None, "##", "[", "café", "New")
    assert words(stub) == {  # no token is tight
        (False, "letters"): ["the", "café", "New"],
        (False, "word"): ["1848"],
        (False, "marks"): [".", "["],
    }
    found = read_vocabulary(stub)
    assert not found.is_tight.any()
    assert found.texts[:5] == ["", "", "", "the", ""]


@pytest.mark.parametrize("mark", ["Ġ", "▁"])
def test_vocabularies_that_mark_the_space_before_a_word(mark: str) -> None:
    marked = [mark + word for word in ("the", "ship", "1848", "##ing", "â", "")]
    found = words(Stub(*marked, "the", "ing", "1848", ".", "madeupword0001", None))
    # "ing" has no marked twin, so it is an ending; so is the stop
    assert found == {
        (False, "letters"): ["the", "ship"],
        (False, "word"): ["1848"],
        (True, "letters"): ["the"],
        (True, "word"): ["1848"],
    }


def test_scripts_are_apart_and_endings_are_words_where_no_blank_parts_them() -> None:
    stub = Stub("▁в", "▁in", "▁дом", "▁ˈ", "ом", "▁運", "河")
    found = read_vocabulary(stub, "ru")
    kinds = {key: [found.texts[i] for i in found.ids[part]] for key, part in found.groups.items()}
    assert kinds[False, "CYRILLIC"] == ["в", "дом"]
    assert kinds[False, "LATIN"] == ["in"]
    assert (True, "CYRILLIC") not in kinds
    unspaced = read_vocabulary(stub, "zh")
    assert [unspaced.texts[i] for i in unspaced.ids[unspaced.groups[True, "CJK"]]] == ["河"]


def test_ids_rise_in_each_group() -> None:
    found = read_vocabulary(Stub("b", "2", "a", "1", "c", "!"))
    assert found.ids.tolist() == [3, 5, 7, 4, 6, 8]
    assert found.ids.dtype == np.int64
