"""eval.ask: what a page shows of an answer, and the page in a real browser."""

import re

import pytest

from eval.ask import Ask, ask
from eval.asking.app import by_protocol
from eval.asking.page import Reply, replies
from eval.reading.answers import Answer, Span
from eval.reading.protocol import Protocol
from eval.reading.reader import Reader
from tests.chromium import axe_faults, chromium, complaints, requested_hosts
from tests.pages import button, labelled, served, tab_to, text_of, wait_for
from tests.tiny_readers import save_bert

TEXT = 'the <script>document.title = "broken"</script> cat sat on the mat in paris, france'
SPANS = (Span("<b>", 4, 12, 1.0, 2.0, 3.0), Span("mat", 5, 8, 0.5, 1.0, 1.5))
NULL = Span("", 0, 0, -1.0, -0.25, -1.25)


def test_an_answer_by_hand():
    answer = Answer("<script>", 4, 12, 3.0, 0.125, -1.9, SPANS, NULL)
    page = replies([Reply("a & b", "run_qa", answer, 0.0345)], TEXT)
    for piece in (
        "<bdi>a &amp; b</bdi> <small>run_qa, 34 ms</small>",
        "<span>12.5%</span>",
        'the <span class="answer">&lt;script&gt;</span>document.title',
        "<bdi>&lt;b&gt;</bdi></th><td>3.00</td>",
        "<i>no answer</i></th><td>-1.25</td>",
    ):
        assert piece in page
    assert "<script" not in page
    none = Answer("", 0, 0, -1.25, 0.75, 1.1, SPANS, NULL)
    page = replies([Reply("x", "farm", none, 0.0)], TEXT)
    assert '<p class="said"><i>no answer</i></p>' in page
    assert 'class="answer"' not in page


def test_both_protocols_are_those_of_predict(tmp_path):
    save_bert(tmp_path)
    rule = {"max_seq_length": 32, "doc_stride": 8, "n_best_size": 7}
    reader = Reader.load(tmp_path, protocol=Protocol(**rule), device="cpu")
    for name in ("run_qa", "farm"):
        other = by_protocol(reader, name)
        assert other.protocol == Protocol(name=name, **rule)
        assert other.model is reader.model
    assert by_protocol(by_protocol(reader, "farm"), "run_qa").protocol == reader.protocol


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": ()}, "name one MODEL"),
        ({"models": ("x",), "n_best": 21}, "n_best 21"),
        ({"models": ("x",), "doc_stride": 0}, "doc_stride 0: must be at least 1"),
    ],
)
def test_wrong_usage(given, message):
    with pytest.raises(ValueError, match=message):
        Ask(**given)


def test_a_reader_that_is_none(tmp_path):
    save_bert(tmp_path, head=False)
    with pytest.raises(ValueError, match="no reader"):
        ask(Ask(models=(str(tmp_path),), max_seq_length=64, doc_stride=8))


@pytest.mark.slow
def test_ask_two_readers_by_keyboard_and_on_a_phone(tmp_path):
    from selenium.webdriver.common.keys import Keys

    paths = [save_bert(tmp_path / name / "reader", seed=seed) for seed, name in enumerate("ab")]
    rule = ["--max-seq-length", "48", "--doc-stride", "8", "--device", "cpu"]
    expected = {
        name: [
            Reader.load(
                path,
                protocol=Protocol(name=name, max_seq_length=48, doc_stride=8),
                device="cpu",
            ).answer("who sat ?", TEXT)
            for path in paths
        ]
        for name in ("run_qa", "farm")
    }
    with served("eval.ask", *map(str, paths), *rule) as address:
        with chromium(tmp_path / "wide") as driver:
            driver.get(address)
            question, text = labelled(driver, "Question"), labelled(driver, "Text")
            assert question.get_attribute("value").endswith("?")  # an example stands there
            tab_to(driver, question)
            question.send_keys(Keys.CONTROL, "a")
            question.send_keys("who sat ?")
            tab_to(driver, text)
            text.send_keys(Keys.CONTROL, "a")
            text.send_keys(TEXT)
            tab_to(driver, button(driver, "Ask"))
            driver.switch_to.active_element.send_keys(Keys.ENTER)
            assert shown(driver) == [(a.text, TEXT) for a in expected["run_qa"]]
            names = [
                element.text for element in driver.find_elements("css selector", ".replies h2 bdi")
            ]
            assert names == ["reader", "reader (2)"]
            driver.find_element("xpath", "//label[normalize-space()='both']//input").click()
            button(driver, "Ask").click()
            wait_for(
                driver, lambda d: len(d.find_elements("css selector", ".replies section")) == 4
            )
            both = zip(expected["run_qa"], expected["farm"], strict=True)
            assert shown(driver) == [(a.text, TEXT) for pair in both for a in pair]
            assert driver.title == "reader, reader (2)"
            assert axe_faults(driver, "serious", "critical") == []
            assert complaints(driver) == []
            assert requested_hosts(driver) == {"127.0.0.1"}
        with chromium(tmp_path / "phone", 390, 800) as driver:
            driver.get(address)
            labelled(driver, "Question").send_keys(Keys.ENTER)
            assert len(shown(driver)) == 2
            width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert driver.execute_script(f"return {width}") <= 0
            assert axe_faults(driver, "serious", "critical") == []
            assert complaints(driver) == []


def shown(driver):
    """Give what each reply marks in its text, and the text."""
    wait_for(driver, lambda d: text_of(d, ".replies .said"))
    found = []
    for reply in driver.find_elements("css selector", ".replies section"):
        text = reply.find_element("css selector", ".text")
        marked = [one.text for one in text.find_elements("css selector", ".answer")]
        said = re.sub("^no answer$", "", reply.find_element("css selector", ".said").text)
        assert said == "".join(marked)
        found.append((said, text.text))
    return found
