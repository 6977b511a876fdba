"""How every command of the project starts, fails and reports: one dataclass, one function.

Exit codes: 0 done, 1 the input or the data failed a check, 2 wrong usage, 130 interrupted.
"""

import errno
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from augment.base.terminal import INTERRUPTED, printable

Config = TypeVar("Config")

FROM_OUTSIDE = (OSError, ValueError, RuntimeError, MemoryError)
"""Errors of data, files, models and machine, whose message is for the user."""
DISK_FULL = ("No space left on device", "PytorchStreamWriter failed writing", "unexpected pos")
"""In the messages of libraries that write past Python: safetensors, torch.save."""
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
    except ValueError as error:  # a check in __post_init__
        _fail(error, 2)
    try:
        function(config)
    except UsageError as error:
        _fail(error, 2)
    except Exception as error:
        if not isinstance(error, FROM_OUTSIDE) and not _is_disk_full(error):
            raise  # a fault of ours
        _fail(_explain(error), 1)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
    leave()


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


def usable_cores() -> int:
    """Count the cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def existing_file(path: Path, what: str) -> Path:
    """Return `path`, or say which input is missing."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such {what}")
    return path


def _explain(error: Exception) -> object:
    if _is_disk_full(error):
        where = getattr(error, "filename", None) or "output"
        return f"{where}: no space left on its disk; free some and run the same command again"
    return error


def _is_disk_full(error: BaseException | None) -> bool:
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
