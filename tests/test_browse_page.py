"""augment.browse in a real browser, on a set of 100,000 rows with markup and Hebrew in it."""

import json
import urllib.request
from urllib.error import HTTPError

import pytest

from augment.browse import BrowseConfig, browse
from augment.build import BuildConfig, build
from tests.chromium import axe_faults, chromium, complaints, requested_hosts
from tests.pages import button, labelled, served, tab_to, text_of, wait_for
from tests.small_sets import answer, question, squad

pytestmark = pytest.mark.slow

MARKUP = (
    "The <script>document.title = 'broken'</script> keeper saw <img src=x onerror=alert(1)> the "
    "lamp ${document.title = 'broken'} {{value}} at the sea &amp; in every garden."
)
HEBREW = "המגדלור הישן ליד קאלה נבנה בשנת 1848 keeper lamp garden."
PLAIN = (
    "The keeper of tower {0} paid ships every morning; a small bird and bees in garden {0} gave."
)
NUMBER = 480


@pytest.fixture(scope="module")
def big(tmp_path_factory, glove_file):
    folder = tmp_path_factory.mktemp("big")
    paragraphs = [
        (MARKUP, [question("<b>id</b>", answer(MARKUP, "${document.title = 'broken'}"))]),
        (HEBREW, [question("rtl", answer(HEBREW, "הישן"))]),
    ]
    for number in range(NUMBER):
        text = PLAIN.format(number)
        asked = [question(f"q{number}-{n}", answer(text, f"tower {number}")) for n in range(10)]
        paragraphs.append((text, asked + [question(f"none-{number}")] * (number == 400)))
    data = squad(paragraphs)
    data["data"][0]["title"] = "<i>Markup</i>"
    (folder / "train.json").write_text(json.dumps(data))
    out = folder / "set <b>"
    build(
        BuildConfig(
            train=str(folder / "train.json"), out=out, mlm="none", glove=str(glove_file),
            num_workers=1,
        )
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def address(big):
    with served("augment.browse", str(big)) as address:
        yield address


def shown(driver, text):
    return wait_for(driver, lambda d: text in text_of(d, "article") and text_of(d, "article"))


def place(driver, text):
    return wait_for(driver, lambda d: text_of(d, ".place") == text)


def test_search_filter_and_leaf(address, tmp_path):
    from selenium.webdriver.common.keys import Keys

    with chromium(tmp_path) as driver:
        driver.get(address)
        page = shown(driver, "The <script>document.title = 'broken'</script>")
        assert "<i>Markup</i>" in page
        assert "<b>id</b>" in page
        place(driver, f"1 of {NUMBER + 2}")
        wait_for(driver, lambda d: "Every shard is what the manifest says." in d.page_source)
        assert driver.title == "set <b>"
        assert f"{(NUMBER * 10 + 3) * 21:,} rows" in driver.page_source
        assert axe_faults(driver, "serious", "critical") == []

        button(driver, "Next").click()
        shown(driver, "המגדלור")
        direction = "return getComputedStyle(document.querySelector('article .text')).direction"
        assert driver.execute_script(direction) == "rtl"
        button(driver, "Next").click()
        page = shown(driver, "tower 0")
        assert "Copy 20" in page
        old = driver.execute_script("return document.querySelector('article ruby rt').textContent")
        assert old in PLAIN
        button(driver, "Previous").click()
        shown(driver, "המגדלור")

        field = labelled(driver, "Search")
        field.send_keys("garden 321")
        button(driver, "Search").click()
        place(driver, "1 of 1")
        shown(driver, "tower 321")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys("q77-3#05")
        button(driver, "Search").click()
        assert "Copy 4" not in shown(driver, "tower 77")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.BACKSPACE)
        driver.find_element("xpath", "//button[contains(., 'Filters')]").click()
        wait_for(driver, lambda d: labelled_radio(d, "unanswerable").is_displayed())
        labelled_radio(driver, "unanswerable").click()
        place(driver, "1 of 1")
        assert "no answer" in shown(driver, "tower 400")
        labelled_radio(driver, "all").click()
        place(driver, f"1 of {NUMBER + 2}")
        button(driver, "Random").click()
        assert axe_faults(driver, "serious", "critical") == []

        driver.find_element("xpath", "//button[@role='tab'][contains(., 'Counts')]").click()
        wait_for(
            driver, lambda d: "replaced by a neighbour" in d.find_element("tag name", "body").text
        )
        assert axe_faults(driver, "serious", "critical") == []
        assert complaints(driver) == []
        assert requested_hosts(driver) == {"127.0.0.1"}


def labelled_radio(driver, name):
    return driver.find_element("xpath", f"//label[normalize-space()='{name}']//input")


def test_by_keyboard_alone_on_a_phone(address, tmp_path):
    from selenium.webdriver.common.keys import Keys

    with chromium(tmp_path, 390, 800) as driver:
        driver.get(address)
        shown(driver, "document.title")
        width = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert driver.execute_script(width) <= 0
        assert axe_faults(driver, "serious", "critical") == []
        tab_to(driver, labelled(driver, "Search"))
        driver.switch_to.active_element.send_keys("about q47", Keys.ENTER)
        place(driver, "1 of 11")
        shown(driver, "garden 47 ")
        tab_to(driver, button(driver, "Next"))
        driver.switch_to.active_element.send_keys(Keys.ENTER)
        shown(driver, "garden 470 ")
        assert driver.execute_script(width) <= 0
        assert complaints(driver) == []
        assert requested_hosts(driver) == {"127.0.0.1"}


def test_takes_no_files_and_no_other_name(address):
    for path in ("gradio_api/upload", "gradio_api/upload/"):
        request = urllib.request.Request(address + path, b"x", method="POST")
        with pytest.raises(HTTPError, match="403"):
            urllib.request.urlopen(request)
    request = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(HTTPError, match="400"):
        urllib.request.urlopen(request)
    with urllib.request.urlopen(address) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_the_file_opens_from_disk(big, tmp_path):
    path = tmp_path / "page.html"
    browse(BrowseConfig(folder=big, html=path, ids=("<b>id</b>", "rtl", "q5-0"), copies=20))
    for width in (1280, 390):
        with chromium(tmp_path / str(width), width, 800) as driver:
            driver.get(path.as_uri())
            assert driver.title == "set <b>"
            assert "<script>document.title" in text_of(driver, "article")
            assert len(driver.find_elements("css selector", ".copy")) == 60
            over = (
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert driver.execute_script(over) <= 0
            assert axe_faults(driver, "serious", "critical") == []
            assert complaints(driver) == []
            assert requested_hosts(driver) == set()
