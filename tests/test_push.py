"""What goes to the hub, tried on a stand-in for its API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from augment.base.models import model_sha256
from augment.build import BuildConfig, build
from augment.check import check
from augment.push import PushConfig, push
from distill import push as student_push
from tests import tiny_distil
from tests.finished_runs import finished
from tests.hub_stand_in import Hub, served_hub
from tests.small_sets import small_set

SECRET = "hf_plantedSecretOfNobody"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with served_hub(monkeypatch) as served:
        yield served


@pytest.fixture
def out(glove_file: Path, tmp_path: Path) -> Path:
    train, glove = tmp_path / "train.json", str(glove_file)
    train.write_text(json.dumps(small_set()))
    folder = tmp_path / "set"
    build(
        BuildConfig(
            train=str(train), out=folder, mlm="none", glove=glove, num_shards=2, num_workers=1
        )
    )
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_set_goes_up_whole_and_alone(
    out: Path, stand_in: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(out)
    push(PushConfig(augmented=out, repository="someone/set20x"))
    assert stand_in.files == before == contents(out)
    assert stand_in.kinds == {"dataset"}
    assert stand_in.tokens == {f"Bearer {SECRET}"}
    said = "".join(capsys.readouterr())
    assert "someone/set20x" in said or stand_in.address in said
    assert SECRET not in said
    assert not any(SECRET.encode() in content for content in stand_in.files.values())
    fetched = tmp_path / "fetched"
    for name, content in stand_in.files.items():
        (fetched / name).parent.mkdir(parents=True, exist_ok=True)
        (fetched / name).write_bytes(content)
    (fetched / ".gitattributes").touch()  # the hub adds it, and its client a cache
    (fetched / ".cache").mkdir()
    (fetched / ".cache" / "lock").touch()
    check(fetched)


def test_an_interrupted_push_goes_on(out: Path, stand_in: Hub) -> None:
    stand_in.refused = 1
    config = PushConfig(augmented=out, repository="someone/set20x")
    with pytest.raises((OSError, RuntimeError)):
        push(config)
    assert stand_in.files == {}
    push(config)
    assert stand_in.files == contents(out)
    assert len(stand_in.uploads) == len(set(stand_in.uploads)) == 2


def test_shards_of_a_larger_set_before_do_not_stay(out: Path, stand_in: Hub) -> None:
    stand_in.files = {"data/train-00008-of-00009.arrow": b"old", "notes.txt": b"somebody's"}
    push(PushConfig(augmented=out, repository="someone/set20x"))
    assert stand_in.files == {**contents(out), "notes.txt": b"somebody's"}


def test_a_dry_run_names_every_file_and_sends_nothing(
    out: Path, stand_in: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(PushConfig(augmented=out, repository="someone/set20x", dry_run=True))
    said = capsys.readouterr().out
    assert all(name in said for name in contents(out))
    assert f"{len(contents(out))} files" in said
    assert stand_in == Hub(address=stand_in.address)


def test_what_is_not_whole_stays_here(out: Path, stand_in: Hub) -> None:
    (out / "stray.txt").touch()
    with pytest.raises(ValueError, match=r"stray\.txt: not in SHA256SUMS"):
        push(PushConfig(augmented=out, repository="someone/set20x"))
    assert stand_in == Hub(address=stand_in.address)


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = finished(tmp_path / "student")
    tiny_distil.bert(folder)
    record = json.loads((folder / "training.json").read_text())
    record["weights_sha256"] = model_sha256(folder)
    (folder / "training.json").write_text(json.dumps(record))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def test_a_student_goes_up_without_stages_and_logs(student: Path, stand_in: Hub) -> None:
    wanted = contents(student)
    for left in ("stages/1-prediction/model.safetensors", "logs/events", "notes.txt", ".env"):
        (student / left).parent.mkdir(parents=True, exist_ok=True)
        (student / left).write_text(SECRET)
    student_push.push(student_push.PushConfig(student=student, repository="someone/small"))
    assert stand_in.files == wanted
    assert {"README.md", "model.safetensors", "tokenizer.json", "eval/scores.json"} <= set(wanted)
    assert stand_in.kinds == {"model"}


def test_a_changed_student_stays_here(student: Path, stand_in: Hub) -> None:
    config = student_push.PushConfig(student=student, repository="someone/small")
    with (student / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match=r"not those that training\.json names"):
        student_push.push(config)
    (student / "README.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"no README\.md"):
        student_push.push(config)
    assert stand_in == Hub(address=stand_in.address)
