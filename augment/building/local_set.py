"""A set that is built in a folder: OUT.incomplete, which gets its name when all is there."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from augment.base.commit import write_atomic
from augment.base.folders import OutFolder, folder_bytes
from augment.base.paragraphs import raise_faults
from augment.base.set_records import Manifest, Plan, Receipt, RunRecord, read_manifest, read_run
from augment.base.stored import seal
from augment.building.blocks import Blocks
from augment.building.receipts import DATA, RECEIPTS, LocalShards
from augment.engines.array_job import ArrayPart
from augment.shards import folder_faults, shard_names


@dataclass(frozen=True)
class LocalSet:
    """What a build does with OUT, a folder."""

    folder: OutFolder

    def __str__(self) -> str:
        return str(self.folder.out)

    @property
    def unfinished(self) -> str:
        """Name what there is of it until it is finished."""
        return str(self.folder.incomplete.absolute())

    @property
    def input_folder(self) -> Path:
        """Where the input is kept in blocks until the set is finished."""
        out = self.folder.out
        return out.with_name(out.name + ".incomplete.input").absolute()

    @property
    def shared(self) -> list[Path]:
        """Folders that all machines at work on it have to share."""
        return [self.folder.incomplete.absolute(), self.input_folder]

    def for_all(self, blocks: Blocks) -> Blocks:
        """Give the input as all machines at work find it: in a folder that they share."""
        return blocks

    def shards(self, plan: Plan) -> LocalShards:
        """The finished shards."""
        return LocalShards(self.folder.incomplete.absolute())

    def look(self, num_bytes: int = 0) -> None:
        """See that it can be made; `num_bytes` is what all its shards will take."""
        self.folder.look(num_bytes and num_bytes - folder_bytes(self.folder.incomplete / DATA))

    def claimed(self, plan: Plan) -> AbstractContextManager[bool]:
        """Keep others out while it is made; give whether it is finished already."""
        return self.folder.claimed(plan.as_json())

    def prepare(self, plan: Plan) -> None:
        """Make the working folder, or take over the one of an interrupted run."""
        self.folder.prepare(plan.as_json())
        assert plan.shards is not None  # else it is a manifest's
        for place in sorted({Path(name).parent for name in shard_names(plan.shards.num_shards)}):
            for name in (DATA, RECEIPTS):
                (self.folder.incomplete / name / place).mkdir(parents=True, exist_ok=True)

    def sign(self, part: ArrayPart) -> None:
        """Leave word that a part has worked here."""
        name, content = part.signature
        write_atomic(self.folder.incomplete / RECEIPTS / name, content)

    def signatures(self) -> list[str]:
        """Name, among others, the files that parts left."""
        return [path.name for path in (self.folder.incomplete / RECEIPTS).iterdir()]

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep what is on this machine until the block's end."""
        yield

    @contextmanager
    def finishing(self, plan: Plan, receipts: Sequence[Receipt]) -> Iterator[Path]:
        """Give the folder for all that is not a shard; the set is whole afterwards."""
        incomplete = self.folder.incomplete.absolute()
        yield incomplete
        shutil.rmtree(incomplete / RECEIPTS)  # killed after this, shards without one are made again
        seal(incomplete)
        self.folder.put_in_place()

    def finished(self) -> RunRecord:
        """See that the set is whole; give how it was built."""
        out = self.folder.out
        raise_faults(str(out), folder_faults(out), "pass --overwrite to build it again")
        return read_run(out)

    def manifest(self) -> Manifest:
        """Read the manifest of the finished set."""
        return read_manifest(self.folder.out)

    def tidy(self, blocks: Blocks) -> None:
        """Delete the input's blocks when the set is finished, or nothing of it was begun."""
        awaited = self.folder.shared and not self.folder.out.exists()
        if not awaited and not self.folder.incomplete.is_dir():
            blocks.forget()
