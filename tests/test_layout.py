"""How the packages hang together: imports run downhill, commands start without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["augment", "eval", "distill"]
FILES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
SCRIPTS = {"plain.py"}  # the benchmark's rival, run with a list of files
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in FILES
    if '"__main__"' in path.read_text("utf-8") and path.name not in SCRIPTS
)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Give every imported module, and whether it was `from ... import`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            yield node.module or "", True


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downhill(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    above = ORDER[ORDER.index(package) + 1 :]
    for module, is_from in imports(path):
        first = module.split(".")[0]
        assert first not in above, f"{package} imports {module}"
        assert first != "tests"
        if first == "eval":  # `import eval` hides the builtin
            assert (is_from, module != "eval") == (True, True), f"import {module}"


def test_no_file_is_named_like_what_it_may_import() -> None:
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    own = {"augment", "eval", "distill", "tests", "twentyfold"}
    names = {path.stem for path in FILES} - {"__init__"}
    # inside a package these hide nothing; people and tools still mistake them
    assert sorted(names & (taken - own)) == []
    assert not [name for name in ORDER if (ROOT / f"{name}.py").exists()]


def test_the_packages_are_declared() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["setuptools"]["packages"] == sorted(ORDER)
    for package in ORDER:
        if (ROOT / package).is_dir():
            tree = ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))
            assert [type(node) for node in tree.body] == [ast.Expr], "more than a docstring"


START = """
import contextlib, io, runpy, sys
import augment.check, augment.build, augment.shards, eval.squad_v1, eval.squad_v2
def heavy():
    return sorted({"torch", "transformers", "datasets", "pandas"} & sys.modules.keys())
assert not heavy(), heavy()
for command in sys.argv[1:]:
    shown = io.StringIO()
    sys.argv = [command, "--help"]
    sys.modules.pop(command, None)
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_module(command, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == 0, (command, end.code)
    assert f"usage: python -m {command} " in shown.getvalue(), (command, shown.getvalue()[:200])
    assert not heavy(), (command, heavy())
"""


def test_every_command_shows_its_help_without_torch() -> None:
    assert {"augment.build", "augment.check", "eval.squad_v1", "eval.squad_v2"} <= set(COMMANDS)
    done = subprocess.run(
        [sys.executable, "-c", START, *COMMANDS], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
