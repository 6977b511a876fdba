"""What the READMEs say exists: commands and their flags, imports, links, the picture."""

import ast
import importlib
import importlib.util
import json
import re
import runpy
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.test_pins import COMMANDS, run

ROOT = Path(__file__).parents[1]
READMES = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/embedded/*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in READMES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code(text: str) -> Iterator[str]:
    """Give every line of code: of blocks, with what a backslash continues, and within lines."""
    for block in FENCE.finditer(text):
        yield from re.sub(r"\\\n\s*", " ", block[2]).splitlines()
    for piece in re.finditer(r"`([^`]+)`", FENCE.sub("", text)):
        yield " ".join(piece[1].split())


def commands(text: str) -> Iterator[tuple[str, str | None, set[str]]]:
    """Give every command of ours with the recipe and the flags that stand behind it."""
    for line in code(text):
        if found := re.search(r"-m ((?:augment|distill|eval)\.\w+)(.*)", line):
            given = found[2].split(" #")[0]
            recipe = re.search(r"--recipe ([\w-]+)(?= |$)", given)
            named = recipe[1] if recipe and recipe[1].islower() else None
            yield found[1], named, set(re.findall(r"(?<= )--[a-z][\w.-]*", given))


def test_commands_are_found_in_a_text() -> None:
    text = (
        "Say `python -m\neval.predict MODEL --dtype float32`:\n\n```\n"
        "$ torchrun -m distill.train --recipe a-b \\\n    --stages.0.epochs 3  # --no\n```\n"
    )
    assert sorted(commands(text), key=str) == [
        ("distill.train", "a-b", {"--recipe", "--stages.0.epochs"}),
        ("eval.predict", None, {"--dtype"}),
    ]


def test_every_command_of_a_readme_exists_with_its_flags(tmp_path: Path) -> None:
    named = [
        (name, command, recipe, flags)
        for name, text in TEXTS.items()
        for command, recipe, flags in commands(text)
    ]
    assert len(named) > 60
    missing = [f"{name}: {command}" for name, command, *_ in named if command not in COMMANDS]
    assert missing == []
    asked = sorted({(command, recipe or "") for _, command, recipe, _ in named})
    given = [[command, *(["--recipe", name] if name else []), "--help"] for command, name in asked]
    shown = dict(zip(asked, run(tmp_path, *given), strict=True))
    for name, command, recipe, flags in named:
        known = set(re.findall(r"--[a-z][\w.-]*", shown[command, recipe or ""]))
        assert flags <= known, f"{name}: {command}: no flag {sorted(flags - known)}"


def test_commands_that_a_readme_only_names_exist() -> None:
    for name, text in TEXTS.items():
        for line in code(text):
            if found := re.fullmatch(r"((?:augment|distill|eval)\.[a-z]\w*)(?: .*)?", line):
                assert importlib.util.find_spec(found[1]), f"{name}: {found[1]}"


@pytest.mark.parametrize("name", TEXTS)
def test_imports_of_a_readme_exist(name: str) -> None:
    for language, block in FENCE.findall(TEXTS[name]):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def anchors(text: str) -> set[str]:
    """Give the anchors of a text's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_of_a_readme_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", FENCE.sub("", TEXTS[name])):
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        target = (ROOT / name).parent / place if place else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def test_readmes_are_short_and_need_nothing_that_their_reader_has_not() -> None:
    assert TEXTS["README.md"].count("\n") <= 170
    assert TEXTS["CONTRIBUTING.md"].count("\n") <= 60
    for name, text in TEXTS.items():
        if name != "data_cards/README.md" and "embedded" not in name:  # which say how it was made
            assert not re.search(r"minilm-(mlm|qa)(?!-)|/work/", text), name


def test_the_picture_is_what_its_script_draws() -> None:
    draw = runpy.run_path(str(ROOT / "data_cards/draw_flow.py"))["draw"]
    assert draw() == (ROOT / "data_cards/flow.svg").read_text("utf-8")


def test_figures_of_the_arms_are_those_of_their_files() -> None:
    arms = sorted((ROOT / "data_cards/minilm-3l-384d-squad2").glob("*/eval/scores.json"))
    assert len(arms) == 5
    rows = [line.split(" | ") for line in TEXTS["data_cards/README.md"].splitlines()]
    for path in arms:
        scores = json.loads(path.read_text("utf-8"))
        names = ("exact", "f1", "HasAns_f1", "NoAns_f1", "best_f1")
        wanted = [f"{scores[name]:.2f}" for name in names]
        found = [[cell.split(" (")[0] for cell in row] for row in rows]
        assert any(set(wanted) <= set(cells) for cells in found), (path.parts[-3], wanted)
        if path.parts[-3] in ("student", "teacher", "no-teacher"):
            assert f"{scores['f1']:.2f} / {scores['best_f1']:.2f}" in TEXTS["README.md"]


def help_lines() -> Iterator[tuple[str, str]]:
    """Give the text under each field that a command shows in its help, with its place."""
    for path in sorted(ROOT.glob("*/**/*.py")):
        if path.relative_to(ROOT).parts[0] not in ("augment", "distill", "eval"):
            continue
        shown = '"__main__"' in path.read_text("utf-8") or path.stem in ("glove_model", "recipes")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))) if shown else ():
            for field, text in pairwise(node.body) if isinstance(node, ast.ClassDef) else ():
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    yield f"{path.relative_to(ROOT)}:{text.lineno}", ast.literal_eval(text.value)


def test_helps_name_their_positional_arguments() -> None:
    for path in sorted((ROOT / "tests/pins/commands/help").glob("*.txt")):
        section = path.read_text("utf-8").partition(" positional arguments\n")[2]
        named = re.findall(r"^  ([A-Z]\S*)", section.partition("\n options\n")[0], re.MULTILINE)
        assert not {"STR", "PATH", "INT"} & set(named), f"{path.stem}: {named}"


def test_helps_answer_a_question_in_whole_sentences() -> None:
    found = dict(help_lines())
    assert len(found) > 200
    for place, text in found.items():
        first, *_ = text.split()
        assert first not in ("Of", "As", "Its", "These"), f"{place}: of what? {text}"
        assert text.endswith("."), f"{place}: {text}"
        for line in text.split("\n")[:-1]:  # tyro keeps a line break, so it stands after a sentence
            assert line.endswith((".", ":")), f"{place}: a break within a sentence: {text}"
