"""Options of the file systems that open URLs, given on a command line: fsspec's own configuration.

They hold for every store of a kind, in this process and in those that it starts. None is a secret:
a command line is seen by all on a machine, and is written down.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from augment.base.command import UsageError
from augment.remote.urls import how_to_install, secrets_of, where_keys_are

SECRET = re.compile(
    "secret|token|pass|key|cred|sas|auth|cookie|connection_string|sign(?!ature_version)", re.I
)
"""In the name of an option, at any depth."""
OPTION = re.compile(r"([\w+-]+)\.(\w+)=(.*)", re.S)
FORM = "KIND.KEY=VALUE, such as s3.anon=true or s3.endpoint_url=http://host:9000"


@dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """How stores are reached that URLs lead to."""

    storage_options: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="[KIND.KEY=VALUE [KIND.KEY=VALUE ...]]")
    ] = ()
    """Options for opening URLs, such as s3.anon=true s3.endpoint_url=http://host:9000.
    VALUE is JSON or a text. Keys and passwords come from the environment."""

    def __post_init__(self) -> None:
        for kind in self.by_kind():
            _check_kind(kind)

    def by_kind(self) -> dict[str, dict[str, Any]]:
        """Give the options of each kind of URL.

        Raises:
            UsageError: one is not written so, or is a secret, which is not repeated.
        """
        found: dict[str, dict[str, Any]] = defaultdict(dict)
        for number, option in enumerate(self.storage_options, 1):
            parts = OPTION.fullmatch(option)
            if parts is None:
                raise UsageError(
                    f"--storage-options: number {number} is not {FORM}; write them behind all else"
                )
            kind, key, text = parts[1].lower(), parts[2], parts[3]
            value = _parsed(f"{kind}.{key}", text)
            if secret := next(_secrets(key, value), None):
                raise UsageError(
                    f"--storage-options {kind}.{secret}: a secret is not given on a command line, "
                    f"which others see; it comes from the environment: {where_keys_are(kind)}"
                )
            found[kind][key] = value
        return found

    def as_environment(self) -> dict[str, str]:
        """Give the variables by which fsspec takes the options in a new process."""
        return {_variable(kind): json.dumps(options) for kind, options in self.by_kind().items()}

    def apply(self) -> None:
        """Have this process, and those that it starts, open URLs with these options.

        Raises:
            UsageError: what the environment says already cannot be read.
        """
        for kind, options in self.by_kind().items():
            variable = _variable(kind)
            for key in options:  # which fsspec would read after the other
                os.environ.pop(f"{variable}_{key.upper()}", None)
            try:
                known = {**json.loads(os.environ.get(variable) or "{}"), **options}
            except (ValueError, TypeError) as error:
                raise UsageError(f"{variable}: must be a JSON object; mend or unset it") from error
            os.environ[variable] = json.dumps(known)
        if self.storage_options:
            from fsspec import config

            config.set_conf_env(config.conf)


AS_CONFIGURED = StorageOptions()


def _variable(kind: str) -> str:
    return f"FSSPEC_{kind.upper()}"


def _check_kind(kind: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(kind)
    except ValueError as error:
        raise UsageError(
            f"--storage-options {kind}: no kind of URL that can be opened; write {FORM}"
        ) from error
    except ImportError as error:
        raise UsageError(f"--storage-options {kind}: {error}; {how_to_install(kind)}") from error


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "[", '"'):
            raise UsageError(
                f"--storage-options {name}: its value begins as JSON does, and is none ({error})"
            ) from error
        return text


def _secrets(name: str, value: Any) -> Iterator[str]:
    """Name what is secret in an option: a key, at any depth, or a URL with a user or a query."""
    if SECRET.search(name) or (isinstance(value, str) and "://" in value and secrets_of(value)):
        yield name
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from _secrets(f"{name}.{key}", inner)
