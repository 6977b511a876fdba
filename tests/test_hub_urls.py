"""Sets and files on the hub, named by `hf://`, on a stand-in for its API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from augment.build import BuildConfig, build
from augment.check import check
from augment.push import PushConfig, push
from augment.shards import open_shards
from augment.squad import read_squad
from tests.hub_stand_in import Hub, served_hub
from tests.small_sets import small_set
from tests.test_build import digests

PLACE = "hf://datasets/someone/set20x"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with served_hub(monkeypatch) as hub:
        yield hub


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(small_set()))
    return path


def configured(train: Path, glove_file: Path, out: str | Path) -> BuildConfig:
    sources = {"train": str(train), "mlm": "none", "glove": str(glove_file)}
    return BuildConfig(**sources, out=out, num_shards=2, num_workers=1)


def test_a_set_on_the_hub_is_read_by_its_url(
    train: Path, glove_file: Path, stand_in: Hub, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    build(configured(train, glove_file, out))
    push(PushConfig(augmented=out, repository="someone/set20x"))
    assert open_shards(PLACE).to_list() == open_shards(out).to_list()
    assert read_squad(PLACE).paragraphs == read_squad(str(out)).paragraphs
    assert check(PLACE) == check(out)
    stand_in.fetched.clear()
    open_shards(PLACE)
    assert stand_in.fetched == ["manifest.json", "SHA256SUMS"]


def test_a_set_is_built_there(train: Path, glove_file: Path, stand_in: Hub, tmp_path: Path) -> None:
    for out in (f"{PLACE}/one", tmp_path / "one"):
        build(configured(train, glove_file, out))
    built = tmp_path / "fetched"
    for name, content in stand_in.files.items():
        (built / name).parent.mkdir(parents=True, exist_ok=True)
        (built / name).write_bytes(content)
    assert digests(built / "one") == digests(tmp_path / "one")


def test_a_file_on_the_hub_is_fetched_once_a_version(train: Path, stand_in: Hub) -> None:
    stand_in.files["raw/train.json"] = train.read_bytes()
    for url in (f"{PLACE}/raw/train.json", f"{PLACE}/raw/*.json", f"{PLACE}/raw"):
        assert read_squad(url).paragraphs == read_squad(str(train)).paragraphs
    assert len(stand_in.fetched) == 2  # read twice: what the hub says of it is no hash of it alone
    stand_in.files["raw/train.json"] = train.read_bytes().replace(b"Calais", b"London")
    assert "London" in read_squad(f"{PLACE}/raw/train.json").paragraphs[0].context


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        (f"{PLACE}/none.json", FileNotFoundError, "no such file or folder"),
        ("hf://datasets/nobody/none/train.json", PermissionError, "private.*HF_TOKEN"),
        ("hf://datasets/none", ValueError, "must be 'namespace/name'"),
    ],
)
def test_what_is_not_on_the_hub_is_told_at_once(
    url: str, kind: type[Exception], says: str, stand_in: Hub
) -> None:
    with pytest.raises(kind, match=says) as raised:
        read_squad(url)
    assert "tried" not in str(raised.value)
    assert "anon" not in str(raised.value)


def test_a_set_that_keys_may_open_is_not_called_unfinished(stand_in: Hub) -> None:
    with pytest.raises(PermissionError, match=r"repository not found.*HF_TOKEN"):
        open_shards("hf://datasets/nobody/set20x")
