"""A folder that is made beside its place and renamed when it is whole: OUT, or nothing of OUT.

OUT.incomplete holds what is being made, with its plan.json; .OUT.replaced is what --overwrite
replaces, for the moment between two renames. Both are mended by the next run after a kill.
A mount point cannot be renamed: there the work lies in OUT/.incomplete, and its files move up.
"""

import errno
import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from augment.base.command import UsageError, megabytes, to_json
from augment.base.commit import (
    TEMPORARY,
    fsync_file,
    fsync_folder,
    remove_leftovers,
    write_atomic,
)
from augment.base.records import differences, read_record

PLAN = "plan.json"
"""In OUT.incomplete from its beginning, and in OUT: what decides the content."""
INSIDE, MOVING = ".incomplete", "moving.json"
"""Of a mounted OUT: the working folder, and in it the names that are to move up."""
NOT_CONTENT = (INSIDE, "lost+found")
ABANDONED_SECONDS = 3600  # after which nobody is still writing a file
RACES = 1000
"""So often in a row nobody loses a folder to another process: it cannot be made."""
NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that cannot lock a folder (NFS, some Lustre)."""


@dataclass(frozen=True, kw_only=True)
class OutFolder:
    """OUT, the folders beside it, and what is done with them before and after the work."""

    out: Path
    what: str
    """For messages: `a set`, `a model`."""
    mark: str
    """A file that every finished one has."""
    overwrite: bool = False
    """Replace another one; make an equal one again."""
    shared: bool = False
    """Let others work in it at the same time, each of whom adds whole files that all would write
    alike."""

    @property
    def place(self) -> Path:
        """Where OUT is: a link is followed."""
        return self.out.resolve() if self.out.is_symlink() else self.out

    @property
    def is_mounted(self) -> bool:
        """Whether OUT is a mount point, such as a container's volume."""
        return self.place.is_mount()

    @property
    def incomplete(self) -> Path:
        """Where it is made."""
        name = self.place.name
        return (
            self.place / INSIDE if self.is_mounted else self.place.with_name(name + ".incomplete")
        )

    @property
    def replaced(self) -> Path:
        """Where the one that is replaced stands between two renames."""
        return self.place.with_name(f".{self.place.name}.replaced")

    def look(self, num_bytes: int = 0) -> None:
        """See, before any work is done, that OUT can be made.

        Args:
            num_bytes: what it will take, at least.

        Raises:
            UsageError: what is in the way.
        """
        if self.out.is_symlink() and not self.place.exists():
            raise UsageError(f"{self.out}: a link to {self.place}, where nothing is; remove it")
        parent = self.incomplete.parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise UsageError(f"{self.out}: {parent} is a file, not a folder")
        if len(os.fsencode(self.incomplete.name)) > os.pathconf(parent, "PC_NAME_MAX"):
            raise UsageError(f"{self.out}: too long a name, since {self.incomplete.name} is needed")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise UsageError(f"{self.out}: no permission to write into {parent}")
        check_room(self.out, num_bytes)

    @contextmanager
    def claimed(self, plan: Mapping[str, Any]) -> Iterator[bool]:
        """Keep others out while it is made; give whether it is finished already.

        Raises:
            UsageError: OUT, or a place that is needed beside it, holds something else.
            RuntimeError: another process is making it.
        """
        half_done = self.replaced.exists() or (self.incomplete / MOVING).exists()
        if self.out.exists() and not half_done and self.is_finished(plan):
            yield True
            return
        self.place.parent.mkdir(parents=True, exist_ok=True)
        with claimed(self.incomplete, shared=self.shared):
            if half_done and self.shared:
                raise RuntimeError(f"{self.out}: a run was killed at its end; run it alone first")
            self._mend()
            try:
                yield self.is_finished(plan)
            except BaseException:
                self._forget_beginning(plan)
                raise
            if self.is_mounted:
                with suppress(OSError):  # not empty: the work went wrong
                    self.incomplete.rmdir()

    def _forget_beginning(self, plan: Mapping[str, Any]) -> None:
        """Empty the working folder of a run that failed before there was more than its plan."""
        files = [path for path in self.incomplete.rglob("*") if not path.is_dir()]
        if files == [self.incomplete / PLAN] and files[0].read_text("utf-8") == to_json(plan):
            empty(self.incomplete)

    def _mend(self) -> None:
        """Finish replacing OUT if a run was killed in the middle of it."""
        if (self.incomplete / MOVING).exists():
            self._move_up()
        if not holds_anything(self.replaced):
            return
        if not (self.replaced / PLAN).is_file():
            raise UsageError(
                f"{self.replaced}: is needed, and holds what is not ours; move it away"
            )
        if self.out.exists():
            self._forget_replaced()
        else:
            rename_folder(self.replaced, self.place)

    def _forget_replaced(self) -> None:
        if self.replaced.is_dir():
            empty(self.replaced, keep=PLAN)  # by which the next run, if need be, knows it as ours
            shutil.rmtree(self.replaced)

    def is_finished(self, plan: Mapping[str, Any]) -> bool:
        """Tell whether OUT was made by this plan; leave it alone if it is anything else.

        Raises:
            UsageError: OUT is not ours, or has another plan and may not be replaced.
        """
        if not holds_anything(self.out):
            return False
        if not (self.out / self.mark).is_file():
            raise UsageError(
                f"{self.out}: exists and is not {self.what} made here (no {self.mark}); choose "
                "another OUT, or move it away"
            )
        if not self.overwrite:
            self._refuse_other(self.out, plan)
        return not self.overwrite

    def prepare(self, plan: Mapping[str, Any]) -> None:
        """Make the working folder ours, or take over that of an interrupted run.

        Raises:
            UsageError: it holds what is not ours, or has another plan and may not be forgotten.
        """
        remove_leftovers(self.incomplete, ABANDONED_SECONDS if self.shared else 0)
        if holds_anything(self.incomplete):
            there = read_record(self.incomplete / PLAN, self.incomplete)
            if there is None:
                raise UsageError(
                    f"{self.incomplete}: is needed, and holds what is not ours; move it away"
                )
            if not self.overwrite:
                self._refuse_other(self.incomplete, plan)
            elif differences(there, plan):
                empty(self.incomplete)
        write_atomic(self.incomplete / PLAN, to_json(plan))

    def put_in_place(self) -> None:
        """Give the finished folder its name.

        Raises:
            UsageError: OUT was filled meanwhile.
        """
        if holds_anything(self.out) and not self.overwrite:
            raise UsageError(f"{self.out}: somebody put files there meanwhile; move them away")
        if self.is_mounted:
            sync_tree(self.incomplete)
            names = dict.fromkeys((path.name for path in self.incomplete.iterdir()), True)
            write_atomic(self.incomplete / MOVING, to_json(names))
            self._move_up()
            return
        if holds_anything(self.out):
            rename_folder(self.place, self.replaced)
        rename_folder(self.incomplete, self.place)
        self._forget_replaced()

    def _move_up(self) -> None:
        """Replace what is in a mounted OUT by what is finished; the mark, which says so, last."""
        listed = read_record(self.incomplete / MOVING, self.place) or {}
        names = set(listed)
        for path in self.place.iterdir():
            new = path.name in names and not (self.incomplete / path.name).exists()
            if not new and path.name not in NOT_CONTENT:
                remove(path)
        for name in sorted(names, key=lambda name: (name == self.mark, name)):
            if (self.incomplete / name).exists():
                os.rename(self.incomplete / name, self.place / name)
        fsync_folder(self.place)
        empty(self.incomplete)

    def _refuse_other(self, folder: Path, plan: Mapping[str, Any]) -> None:
        there = read_record(folder / PLAN, folder)
        changed = [f"no {PLAN} there"] if there is None else differences(there, plan)
        if changed:
            listed = "\n  ".join(changed)
            by_another = any(line.startswith("format: ") for line in changed)
            how = "by another version" if by_another else "with another configuration"
            raise UsageError(
                f"{folder}: made {how}; choose another OUT, or pass --overwrite to replace it:"
                f"\n  {listed}"
            )


def folder_bytes(folder: Path) -> int:
    """Add up the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_room(path: Path, num_bytes: int) -> None:
    """See that a disk has room for what is about to be made.

    Args:
        path: where it will be; what is above need not be there yet.
        num_bytes: an estimate.

    Raises:
        UsageError: there is less, with both numbers.
    """
    place = path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if num_bytes > free:
        raise UsageError(
            f"{path}: no space left on its disk, needs about {megabytes(num_bytes)} and "
            f"{free / 1e6:,.0f} MB are free; free some and run again, or choose another place"
        )


@contextmanager
def made_at_once(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` that gets its name, or is deleted if anything fails.

    Raises:
        UsageError: that folder's place is taken.
    """
    incomplete = target.with_name(target.name + ".incomplete")
    if incomplete.exists():
        raise UsageError(
            f"{incomplete}: is needed; delete it, if it is what a killed run left, or move it away"
        )
    with claimed(incomplete):
        try:
            yield incomplete
            rename_folder(incomplete, target)
        except BaseException:
            empty(incomplete)
            raise


@contextmanager
def claimed(folder: Path, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a folder, made if it is not there, for as long as this process lives.

    With `shared`, others that do so may hold it, too.

    The lock is on the folder itself, so there is no file of it: none to be left behind, and none
    of somebody else's to be opened. A folder that was made here is removed if it stays empty.

    Raises:
        RuntimeError: another process holds it, and `wait` is false.
        UsageError: it is a file or a link.
    """
    for attempt in count():
        made = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            dangling = [path for path in folder.parents if path.is_symlink() and not path.exists()]
            links = [folder] if folder.is_symlink() else dangling
            above = (folder, *folder.parents)
            files = [path for path in above if _is_no_folder(path)]
            for path in (*links, *files):
                raise UsageError(
                    f"{path}: is needed as a folder; move away the file or link of that name"
                ) from error
            if attempt == RACES:
                raise
            continue  # its holder renamed or removed it, or another has just made it
        try:
            _lock(descriptor, folder, wait, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if not _is_at(folder, descriptor):  # renamed or removed before it was locked
                continue
            try:
                yield
            finally:
                if made:
                    with suppress(OSError):  # not empty, or renamed: as it should be
                        folder.rmdir()
            return
        finally:
            os.close(descriptor)


def _is_no_folder(path: Path) -> bool:
    """Tell whether there is something else; in one look, since others make and remove folders."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _lock(descriptor: int, folder: Path, wait: bool, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise RuntimeError(f"{folder}: another process is at work here; wait for it") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(
            f"{folder}: this file system has no locks; start no second process that makes the same",
            file=sys.stderr,
        )


def _is_at(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def sync_tree(folder: Path) -> None:
    """Bring everything in a folder to the disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            fsync_file(Path(place, name))
        fsync_folder(Path(place))


def rename_folder(source: Path, target: Path) -> None:
    """Give a finished folder its final name in one step, all that is in it on disk."""
    sync_tree(source)
    os.rename(source, target)
    fsync_folder(target.parent)


def empty(folder: Path, keep: str = "") -> None:
    """Delete what is in a folder; the folder itself, which may be locked, stays."""
    for path in folder.iterdir():
        if path.name != keep:
            remove(path)


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def holds_anything(path: Path) -> bool:
    """Tell whether there is a file, or a folder with anything of its owner's in it."""
    if not path.is_dir():
        return path.exists()
    names = (inside.name for inside in path.iterdir())
    return any(name not in NOT_CONTENT and not TEMPORARY.fullmatch(name) for name in names)
