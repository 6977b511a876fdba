"""How the packages hang together: imports run downhill, commands start without torch."""

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
ORDER = ["augment", "eval", "distill"]
FILES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
SCRIPTS = {"plain.py"}  # the benchmark's rival, run with a list of files
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in FILES
    if '"__main__"' in path.read_text("utf-8") and path.name not in SCRIPTS
)


def module_name(path: Path) -> str:
    """Give the dotted name of a file; a package is its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Give every imported module, and whether it was `from ... import`; wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module or "", True


def room_of(module: str) -> str:
    """Give the folder that a module lies in; a file directly in a package stands for itself."""
    parts = module.split(".")
    return ".".join(parts[:2])


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Give the nodes of one circle of a graph, in order; an empty list where there is none."""
    done: set[str] = set()

    def follow(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for target in sorted(arrows.get(node, ())):
            if found := follow(target, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(arrows) if (found := follow(node, []))), [])


def arrows(node_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Give which nodes import which; imports in functions and under TYPE_CHECKING count."""
    found: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        targets = {node_of(target) for target, _ in imports(path) if target in MODULES}
        found.setdefault(node_of(module), set()).update(targets - {node_of(module)})
    return found


def test_no_files_import_one_another_in_a_circle() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]  # it would be seen
    assert circle(arrows(str)) == []


def test_no_rooms_import_one_another_in_a_circle() -> None:
    assert circle(arrows(room_of)) == []


def test_a_package_has_commands_on_top_and_few_files_in_a_folder() -> None:
    public = {"augment.augmenter", "augment.squad", "augment.shards"}
    tops = {
        module
        for module in MODULES
        if module.count(".") == 1 and MODULES[module].stem != "__init__"
    }
    assert tops - set(COMMANDS) == public
    folders = Counter(path.parent for path in FILES if path.stem != "__init__")
    assert {folder: number for folder, number in folders.items() if number > 14} == {}


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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found = find_packages(
        str(ROOT), include=project["tool"]["setuptools"]["packages"]["find"]["include"]
    )
    assert sorted(found) == sorted({module_name(path.with_name("__init__.py")) for path in FILES})
    for path in ROOT.glob("*/__init__.py"):
        tree = ast.parse(path.read_text("utf-8"))
        kinds = [type(node) for node in tree.body]  # a docstring, and Ctrl-C in one line
        assert kinds == [ast.Expr, ast.ImportFrom, ast.Expr], "more than that"


def test_the_tree_in_readme_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    tree = next(block for block in text.split("```") if block.startswith("\naugment/"))
    told: list[str] = []
    package = ""
    for line in tree.strip().splitlines():
        name, _, words = line.strip().partition("/ ")
        if not line.startswith(" "):
            package = name
            told.append(f"{package}/")
            assert words.strip(), line
        elif words:
            told.append(f"{package}/{name}/")
        else:
            told += [f"{package}/{file}" for file in line.split() if file.endswith(".py")]
    folders = {
        path.parent for name in ORDER for path in (ROOT / name).glob("*/*") if path.is_file()
    }
    found = [
        *(f"{name}/" for name in (*ORDER, "data_cards", "tests")),
        *(f"{path.relative_to(ROOT)}/" for path in folders if path.name != "__pycache__"),
        *(str(path.relative_to(ROOT)) for path in FILES if path.parent.parent == ROOT),
    ]
    found = [name for name in found if not name.endswith("__init__.py")]
    differ = sorted(set(told) ^ set(found))
    assert differ == [], "README's tree has a line for each folder, and names each file on top"
    assert len(told) == len(set(told))


def endless(source: str) -> list[int]:
    """Give the lines that wait for another process, however long it takes."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func).endswith(("subprocess.run", ".communicate", ".wait"))
        and "timeout" not in {word.arg for word in call.keywords}
    ]


def test_no_test_waits_without_end_for_another_process() -> None:
    assert endless("subprocess.run([])\nprocess.wait()\nprocess.wait(timeout=1)") == [1, 2]
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert {path.name: endless(path.read_text("utf-8")) for path in files} == {
        path.name: [] for path in files
    }


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
        [sys.executable, "-c", START, *COMMANDS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
