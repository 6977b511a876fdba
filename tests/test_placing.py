"""Two who put a set into one place at once, in stores with conditional writes and without."""

import random
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from augment.base.command import UsageError
from augment.base.stored import CHECKSUMS, parse_checksums, seal
from augment.build import BuildConfig, build
from augment.push import PushConfig, push
from augment.shards import open_shards

fsspec = pytest.importorskip("fsspec")
URL = "memory://bucket/set"
Made = Callable[..., Path]


@pytest.fixture(autouse=True)
def store(memory_store: Any) -> Any:
    return memory_store


@pytest.fixture
def made(train: Path, glove_file: Path, tmp_path: Path) -> Made:
    def make(name: str, **settings: Any) -> Path:
        config = {"mlm": "none", "glove": str(glove_file), "num_workers": 1, **settings}
        build(BuildConfig(train=str(train), out=tmp_path / name, num_shards=2, **config))
        return tmp_path / name

    return make


def twin(made: Path, name: str) -> Path:
    """Copy a set, as another run of the same plan would have made it."""
    other = made.with_name(name)
    copytree(made, other)
    run = (other / "run.json").read_text()
    (other / "run.json").write_text(run.replace('"peak_memory_mib": ', '"peak_memory_mib": 1'))
    seal(other)
    return other


def pushed(folder: Path) -> None:
    push(PushConfig(augmented=folder, repository=URL))


def stored(store: Any) -> dict[str, bytes]:
    return {name.removeprefix("/bucket/set/"): store.cat_file(name) for name in store.find(URL)}


def agrees(store: Any) -> bool:
    there = stored(store)
    sums = parse_checksums(there[CHECKSUMS])
    return sums == {n: sha256(c).hexdigest() for n, c in there.items() if n != CHECKSUMS}


def test_what_is_complete_agrees_or_is_mended(
    made: Made, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    one = made("one")
    other = twin(one, "other")
    assert (other / "run.json").read_bytes() != (one / "run.json").read_bytes()
    pushed(one)
    pushed(other)
    assert "complete already" in capsys.readouterr().out
    assert stored(store)["run.json"] == (one / "run.json").read_bytes()
    shard = min((one / "data").iterdir())
    for name, content in (
        ("run.json", (other / "run.json").read_bytes()),
        ("README.md", b"cut"),
        (f"data/{shard.name}", shard.read_bytes()[:-1]),
        (CHECKSUMS, (other / CHECKSUMS).read_bytes()),
        (CHECKSUMS, b"cut\n"),
    ):
        store.pipe_file(f"{URL}/{name}", content)
        assert not agrees(store)
        pushed(one)
        assert "complete already" not in capsys.readouterr().out
        assert agrees(store)
    store.pipe_file(f"{URL}/notes.txt", b"somebody's")
    with pytest.raises(UsageError, match=r"notes\.txt: none of this set; move it away"):
        pushed(one)


@pytest.mark.slow
@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("same_plan", [True, False])
def test_two_at_once(
    conditional: bool, same_plan: bool, made: Made, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of 20 tries the requests of the two are mixed in another way."""
    one = made("one")
    folders = [one, twin(one, "other") if same_plan else made("other", seed=1)]
    wanted = [open_shards(folder).to_list() for folder in folders]
    draw = random.Random(0)
    pipe = type(store).pipe_file
    lock = threading.Lock()

    def late(*args: Any, mode: str = "overwrite", **more: Any) -> Any:
        time.sleep(draw.random() * 0.02)
        with lock:
            return pipe(*args, mode=mode if conditional else "overwrite", **more)

    def late_put(files: Any, source: str, target: str, **more: Any) -> None:
        late(files, target, Path(source).read_bytes())

    def ignored(*args: Any, mode: str = "overwrite", **more: Any) -> Any:
        if mode == "create" and not conditional:
            raise NotImplementedError
        return late(*args, mode=mode, **more)

    monkeypatch.setattr(type(store), "pipe_file", ignored)
    monkeypatch.setattr(type(store), "put_file", late_put)
    monkeypatch.setattr("augment.remote.placing.SETTLING", 0.1)
    for attempt in range(20):
        store.store.clear()
        refused: list[int] = []

        def work(index: int, refused: list[int] = refused) -> None:
            try:
                pushed(folders[index])
            except UsageError as error:
                refused += [index] * ("made with another configuration" in str(error))

        threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert len(refused) == (not same_plan), attempt
        assert agrees(store)
        assert open_shards(URL).to_list() == wanted[1 if 0 in refused else 0]
