"""A set that is built into a bucket, where there is no rename and no lock: its manifest comes last.

The plan comes first, then shards, each before its receipt, then all that is small, then the
manifest. Whoever builds the same set meanwhile writes the same bytes. Whoever has another plan is
refused; where the store cannot create a file on condition that there is none, by reading the plan
again before and after each shard, and before the manifest.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from augment.base.command import UsageError, to_json
from augment.base.commit import file_sha256
from augment.base.folders import PLAN, claimed, empty
from augment.base.paragraphs import raise_faults
from augment.base.set_records import (
    MANIFEST,
    RUN,
    Manifest,
    Plan,
    Receipt,
    RunRecord,
)
from augment.base.stored import CHECKSUMS, checksum_lines
from augment.base.toml_files import fill
from augment.building.blocks import Blocks
from augment.building.receipts import DATA, RECEIPTS, WriteShard, described, pack, unpack
from augment.engines.array_job import ArrayPart
from augment.remote.bucket import Bucket
from augment.remote.fetching import read_marks, remote_manifest
from augment.remote.placing import keep_plan
from augment.remote.urls import kept_here

INPUT = f"{RECEIPTS}/input"
"""Where the machines of a cluster find the input."""


class FinishedByOthers(Exception):
    """The same build, which ran elsewhere at the same time, has finished the set."""


@dataclass(frozen=True)
class BucketShards:
    """Shards in a bucket, `Shards`; receipts lie beside them until the set is finished."""

    bucket: Bucket
    plan: bytes

    @property
    def folder(self) -> str:
        """Of the receipts: named after the plan, so that nobody takes those of another."""
        return f"{RECEIPTS}/{hashlib.sha256(self.plan).hexdigest()[:16]}"

    def receipts(self, names: Sequence[str]) -> list[Receipt | None]:
        """Give the receipts of shards that are there, as their receipts say.

        Raises:
            FinishedByOthers: receipts are gone, since the set is whole.
            UsageError: somebody else has put another plan there.
        """
        listed, shards = self.bucket.list(self.folder), self.bucket.list(DATA)
        present = [name for name in names if f"{name}.json" in listed and name in shards]
        try:
            packed = self._packed([self._receipt(name) for name in present])
        except FileNotFoundError:  # deleted a moment ago
            packed, present = {}, []
        found = {name: self._valid(packed[self._receipt(name)], shards[name]) for name in present}
        if len(present) < len(names) and self.bucket.read(MANIFEST) is not None:
            keep_plan(self.bucket, self.plan)
            raise FinishedByOthers
        return [found.get(name) for name in names]

    def _packed(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Read receipts; nothing of one that the store keeps and does not give, as a damaged one.

        Raises:
            FileNotFoundError: one is not there.
        """
        try:
            return self.bucket.read_all(paths)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            self.bucket.list(self.folder)  # or the store is away, and says so
            given = [path for path in paths if self.bucket.sha256(path)]
            return dict.fromkeys(paths, b"") | self.bucket.read_all(given)

    def _receipt(self, name: str) -> str:
        return f"{self.folder}/{name}.json"

    def _valid(self, packed: bytes, version: str) -> Receipt | None:
        record = unpack(packed)
        if record is None:
            return None
        known = record.pop("version")
        receipt = fill(Receipt, record, f"{self.bucket}/{self.folder}: ")
        same = (version and version == known) or (
            self.bucket.sha256(f"{DATA}/{receipt.shard.file}") == receipt.shard.sha256
        )
        return receipt if same else None

    def add(self, name: str, write: WriteShard) -> None:
        """Put a shard in its place, then its receipt; here nothing of it stays.

        Raises:
            UsageError: somebody else has put another plan there.
        """
        work = kept_here("builds", self.bucket.url) / "shards"
        work.mkdir(parents=True, exist_ok=True)
        path = work / f".{Path(name).name}.{uuid4().hex}.tmp"
        try:
            receipt = described(write(path), path)
            keep_plan(self.bucket, self.plan)
            self.bucket.put(f"{DATA}/{name}", path)
        finally:
            path.unlink(missing_ok=True)
        _, version = self.bucket.describe(f"{DATA}/{name}")
        keep_plan(self.bucket, self.plan)
        self.bucket.write(self._receipt(name), pack({**vars(receipt), "version": version}))


@dataclass(frozen=True)
class BucketSet:
    """What a build does with OUT, a URL."""

    bucket: Bucket

    def __str__(self) -> str:
        return str(self.bucket)

    @property
    def work(self) -> Path:
        """The folder on this machine: the input in blocks, and shards on their way."""
        return kept_here("builds", self.bucket.url)

    @property
    def unfinished(self) -> str:
        """Name what there is of it until it is finished."""
        return str(self.bucket)

    @property
    def input_folder(self) -> Path:
        """Where the input is kept in blocks until the set is finished."""
        return self.work / "input"

    @property
    def shared(self) -> list[Path]:
        """Folders that all machines at work on it have to share: none."""
        return []

    def for_all(self, blocks: Blocks) -> Blocks:
        """Put the input where all machines at work find it, until the set is finished."""
        return blocks.put(self.bucket, f"{INPUT}/{blocks.folder.name}")

    def shards(self, plan: Plan) -> BucketShards:
        """The finished shards."""
        return BucketShards(self.bucket, to_json(plan.as_json()).encode())

    def look(self, num_bytes: int = 0) -> None:
        """See that the store can be reached.

        Raises:
            FileNotFoundError, PermissionError: there is no such bucket, or no entry to it.
        """
        self.bucket.list()

    @contextmanager
    def claimed(self, plan: Plan) -> Iterator[bool]:
        """See that nothing else is there; give whether the set is finished already.

        Raises:
            UsageError: something else is there.
        """
        shards = self.shards(plan)
        begun = self.bucket.read(PLAN) is not None
        if not begun and not self.bucket.is_empty():
            begun = self.bucket.read(PLAN) is not None  # another has put it there just now
            if not begun:
                raise UsageError(f"{self}: holds something else than a set; choose another place")
        if begun:
            keep_plan(self.bucket, shards.plan)
        try:
            yield begun and self.bucket.read(MANIFEST) is not None
        except Exception:
            there = [name for name in self.bucket.list() if not name.startswith(f"{INPUT}/")]
            if there == [PLAN] and self.bucket.read(PLAN) == shards.plan:
                self._forget_receipts()
                self.bucket.remove(PLAN)  # whoever has the same plan puts it there again
            raise

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep what is on this machine until nobody is at work with it."""
        try:
            with claimed(self.work, wait=True, shared=True):
                yield
        finally:
            with suppress(RuntimeError, OSError), claimed(self.work):
                empty(self.work)
                self.work.rmdir()

    def prepare(self, plan: Plan) -> None:
        """Put the plan there."""
        keep_plan(self.bucket, self.shards(plan).plan)

    def sign(self, part: ArrayPart) -> None:
        """Leave word that a part has worked here."""
        name, content = part.signature
        self.bucket.write(f"{RECEIPTS}/{name}", content.encode())

    def signatures(self) -> list[str]:
        """Name, among others, the files that parts left."""
        return [*self.bucket.list(RECEIPTS)]

    @contextmanager
    def finishing(self, plan: Plan, receipts: Sequence[Receipt]) -> Iterator[Path]:
        """Give a folder for all that is not a shard; the set is whole afterwards.

        The run record is not in SHA256SUMS: of all files it alone differs between two builds of
        the same set, which may be at work at once.

        Raises:
            UsageError: somebody else has put another plan there.
        """
        folder = self.work / f"rest-{uuid4().hex}"
        (folder / DATA).mkdir(parents=True)  # by which a set is told from a card that was kept
        try:
            yield folder
            shards = self.shards(plan)
            (folder / PLAN).write_bytes(shards.plan)
            names = sorted(path.name for path in folder.iterdir() if path.is_file())
            hashes = {name: file_sha256(folder / name) for name in names if name != RUN}
            hashes |= {f"{DATA}/{r.shard.file}": r.shard.sha256 for r in receipts}
            (folder / CHECKSUMS).write_text(checksum_lines(hashes), encoding="utf-8")
            keep_plan(self.bucket, shards.plan)
            if self.bucket.read(MANIFEST) is None:
                for name in (*(n for n in names if n not in (PLAN, MANIFEST)), CHECKSUMS):
                    self.bucket.put(name, folder / name)
                keep_plan(self.bucket, shards.plan)
                self.bucket.put(MANIFEST, folder / MANIFEST)
            self._forget_receipts()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _forget_receipts(self) -> None:
        for name in self.bucket.list(RECEIPTS):
            self.bucket.remove(f"{RECEIPTS}/{name}")

    def finished(self) -> RunRecord:
        """See that the set is whole, shards by their presence; give how it was built.

        Raises:
            ValueError: with what is missing, or not as it was put there.
        """
        _, sums = read_marks(self.bucket)
        shards = self.bucket.list(DATA)
        faults = [
            f"{name}: missing or changed"
            for name, sha256 in sums.items()
            if (
                name.removeprefix(f"{DATA}/") not in shards
                if name.startswith(f"{DATA}/")
                else self.bucket.sha256(name) != sha256
            )
        ]
        raise_faults(str(self), faults, "delete what is there, and build it again")
        self._forget_receipts()
        content = self.bucket.read(RUN)
        if content is None:
            raise FileNotFoundError(f"{self}/{RUN}: is missing")
        return fill(RunRecord, json.loads(content), f"{self}/{RUN}: ")

    def manifest(self) -> Manifest:
        """Read the manifest of the finished set."""
        return remote_manifest(self.bucket)

    def tidy(self, blocks: Blocks) -> None:
        """Leave the input's blocks to `working`, which knows whether others need them."""
