"""How every command of the project starts, fails and reports: one dataclass, one function.

Exit codes: 0 done, 1 the input or the data failed a check, 2 wrong usage, 130 interrupted.
"""

import errno
import json
import os
import platform
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from augment.base.terminal import INTERRUPTED, printable

Config = TypeVar("Config")

FROM_OUTSIDE = (OSError, ValueError, RuntimeError, MemoryError)
"""Errors of data, files, models and machine, whose message is for the user."""
DISK_FULL = (
    *("No space left on device", "PytorchStreamWriter failed writing", "unexpected pos"),
    *("iostream error", " requested and "),
)
"""In the messages of libraries that write past Python: safetensors, torch.save, numpy's tofile."""
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
PACKAGES = ("twentyfold", "torch", "transformers", "datasets", "pyarrow", "numpy", "nltk")


class UsageError(ValueError):
    """The command was asked for something it cannot do; exit code 2."""


def run(
    config_type: type[Config], function: Callable[[Config], Any], default: Config | None = None
) -> NoReturn:
    """Parse the command line into `config_type`, call `function` with it, exit with a code.

    `default` stands for the fields' own defaults where these depend on the command line.
    A user's mistake ends in one message on stderr. Set TWENTYFOLD_TRACEBACK=1 to see where
    it was raised.
    """
    import tyro

    try:
        module = sys.modules[function.__module__]
        spec = getattr(module, "__spec__", None)
        prog = f"python -m {spec.name}" if spec else None
        given: dict[str, Any] = {} if default is None else {"default": default}
        paragraphs = re.sub(r"(?<!\n)\n(?!\n)", " ", (module.__doc__ or "").strip())  # not lines
        config = tyro.cli(config_type, prog=prog, description=paragraphs, **given)
        if storage := getattr(config, "storage", None):  # `StorageOptions`
            storage.apply()
        _refuse_urls(config)
    except ValueError as error:  # a check in __post_init__
        _fail(error, 2)
    _hush_where_the_disk_is_full()
    try:
        function(config)
    except UsageError as error:
        _fail(error, 2)
    except Exception as error:
        if not isinstance(error, FROM_OUTSIDE) and not is_disk_full(error):
            raise  # a fault of ours
        _fail(_explain(error), 1)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
    leave()


def _refuse_urls(config: Any) -> None:
    """See that no URL was given where a path on this machine is needed."""
    for value in vars(config).values():
        for one in value if isinstance(value, tuple) else (value,):
            if is_dataclass(one):
                _refuse_urls(one)
            elif isinstance(one, Path) and is_url_as_path(one):
                url = re.sub(r":/([^/]*@)?([^?]*).*", r"://\2", str(one), count=1)
                raise UsageError(f"{url}: a file or folder of this machine is needed here, no URL")


def _hush_where_the_disk_is_full() -> None:
    """Leave it to the main thread to say so: it meets the full disk, too.

    A thread that writes logs, or a file that is given up, would show a traceback besides.
    """
    in_threads, unraisable = threading.excepthook, sys.unraisablehook

    def hush_thread(found: threading.ExceptHookArgs) -> None:
        if not is_disk_full(found.exc_value):
            in_threads(found)

    def hush_unraisable(found: "sys.UnraisableHookArgs") -> None:
        if not is_disk_full(found.exc_value):
            unraisable(found)

    threading.excepthook, sys.unraisablehook = hush_thread, hush_unraisable


def leave() -> NoReturn:
    """End the process, its work done.

    One of several that `torchrun` started leaves without taking the interpreter down in order:
    Gloo's threads may still let go of tensors then, which aborts it. Source: pytorch#179291.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    sys.exit(0)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape an output, for a run's record."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def to_json(value: Mapping[str, Any]) -> str:
    """Write a mapping the one way that every file of ours uses: sorted, indented, UTF-8."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def default_cache() -> Path:
    """Give the folder for things that can be made again from their inputs."""
    base = os.environ.get("TWENTYFOLD_CACHE")
    return Path(base) if base else Path.home() / ".cache" / "twentyfold"


def is_url_as_path(place: object) -> bool:
    """Tell a URL that lost a slash, as it does in a path: a folder "s3:" would be made of it."""
    return re.match(r"\w[\w+.-]+:/(?!/)", str(place)) is not None


def usable_cores() -> int:
    """Count the cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def existing_file(path: Path, what: str) -> Path:
    """Return `path`, or say which input is missing."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such {what}")
    return path


def megabytes(num_bytes: float) -> str:
    """Write a size, for messages; at least 1 MB."""
    return f"{max(1, round(num_bytes / 1e6)):,} MB"


@contextmanager
def needing(num_bytes: int) -> Iterator[None]:
    """Have it said what the work in the block needs, should the disk fill up in it.

    Args:
        num_bytes: an estimate; the innermost block's is said.
    """
    try:
        yield
    except Exception as error:
        if is_disk_full(error) and not _notes(error):
            error.add_note(f"needs about {megabytes(num_bytes)}")
        raise


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _explain(error: Exception) -> object:
    if isinstance(error, OSError) and error.errno in NOT_WRITABLE and error.filename:
        if Path(str(error.filename)).is_relative_to(default_cache()):
            return f"{error}; set TWENTYFOLD_CACHE to a folder that can be written"
    if is_disk_full(error):
        where = getattr(error, "filename", None) or "output"
        said = ", ".join([f"{where}: no space left on its disk", *_notes(error)])
        return f"{said}; free some and run the same command again"
    return error


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether a full disk (or quota) is behind an error, whatever library raised it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(sign in str(error) for sign in DISK_FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: object, code: int) -> NoReturn:
    if os.environ.get("TWENTYFOLD_TRACEBACK") and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    unsaid = "out of memory" if isinstance(message, MemoryError) else repr(message)
    print(printable(f"error: {str(message) or unsaid}"), file=sys.stderr)
    sys.exit(code)
