"""List the recipes, or print one: its models, its stages, and every number with its source.

A number comes from the card of a published model, or from the code that made the model, or it is
this project's own; then the reason is given. A recipe is a
file in distill/recipes: copy one, change it, and give the copy where a recipe's name is asked for.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, run
from augment.base.paragraphs import raise_faults
from augment.base.toml_files import fill, read_toml

BUNDLED = Path(__file__).with_name("recipes")
"""Holds a file for each recipe that has a name; in them every value has its source."""
UNIFORM = "uniform"
"""Stands for no `layer_map`."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training: what is learned, on which rows, from whom, and how."""

    kind: Literal["intermediate", "prediction", "supervised"]
    """Learn the teacher's hidden states and attention, its answer spans, or the labels only."""
    rows: Literal["text", "augmented", "balanced", "original"]
    """Train on plain text, on the original rows and all copies, or on the originals only.
    balanced: as augmented, with each original as often as it has copies: half of the rows."""
    teacher: str | None
    """Hub id or folder of the teacher, or `embedded`; a supervised stage needs none."""
    epochs: float
    """Passes over the rows."""
    batch_size: int
    """Rows in an optimizer step, over all devices and accumulated parts."""
    learning_rate: float
    """Peak learning rate of AdamW."""
    warmup: float = 0.0
    """Share of the steps during which the learning rate rises; then it falls linearly to 0."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    decay_all: bool = False
    """Apply weight decay to biases and layer norms, too."""
    adam_epsilon: float = 1e-8
    """Epsilon of AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    layer_map: tuple[int, ...] | None = None
    """Teacher layer, counted from 1, that each student layer learns from; None: evenly spaced."""
    hidden_weight: float = 1.0
    """Weight of the loss between hidden states."""
    attention_weight: float = 1.0
    """Weight of the loss between attention."""
    attention_target: Literal["scores", "probabilities"] = "scores"
    """Compare attention before the softmax (scores) or after it (probabilities)."""
    kd_weight: float = 1.0
    """Weight of the KL divergence from the teacher's start and end distributions."""
    hard_weight: float = 0.0
    """Weight of the cross-entropy with the labels."""
    temperature: float = 1.0
    """Logits of student and teacher are divided by this before they are compared."""
    span_reduction: Literal["sum", "mean"] = "sum"
    """Whether the divergences of start and end are added or averaged."""
    head_dropout: float = 0.0
    """Dropout before the span head."""
    count_padding: bool = False
    """Pad every window to max_seq_length and let padding count in the losses, as Haystack v1 did.
    Losses between attention scores leave it out all the same."""

    def __post_init__(self) -> None:
        if self.teacher is None and self.kind != "supervised":
            raise ValueError(f"{self._flag('teacher')}: the stage learns from one; name it")
        if self.rows == "text" and self.kind != "intermediate":
            raise ValueError(f"{self._flag('rows')} text: plain text has no questions")
        for name in ("epochs", "batch_size", "learning_rate", "temperature", "adam_epsilon"):
            self._check(name, getattr(self, name) > 0, "must be above 0")
        for name in ("hidden_weight", "attention_weight", "kd_weight", "hard_weight"):
            self._check(name, getattr(self, name) >= 0, "must be 0 or more")
        self._check("weight_decay", self.weight_decay >= 0, "must be 0 or more")
        self._check("max_grad_norm", self.max_grad_norm > 0, "must be above 0")
        self._check("warmup", 0 <= self.warmup <= 1, "a share of the steps, 0 to 1")
        self._check("head_dropout", 0 <= self.head_dropout < 1, "must be 0 to below 1")
        if self.layer_map is not None and (not self.layer_map or min(self.layer_map) < 1):
            shown = " ".join(map(str, self.layer_map))
            raise ValueError(f"{self._flag('layer_map')} {shown}: layers count from 1")
        if self.kind == "intermediate" and not self.hidden_weight + self.attention_weight:
            raise ValueError(
                f"{self._flag('hidden_weight')} 0 and attention-weight 0: nothing is learned"
            )
        if self.kind == "prediction" and not self.kd_weight + self.hard_weight:
            raise ValueError(f"{self._flag('kd_weight')} 0 and hard-weight 0: nothing is learned")

    def _check(self, name: str, fits: bool, wanted: str) -> None:
        if not fits:
            raise ValueError(f"{self._flag(name)} {getattr(self, name)}: {wanted}")

    def _flag(self, name: str) -> str:
        return f"{self.kind} stage: --stages.N.{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class PruningStage(Stage):
    """A stage in which blocks of the student's weights are pruned while it learns."""

    method: Literal["threshold", "topk"] = "threshold"
    """threshold: a block stays while the sigmoid of its score is above the threshold.
    topk: a given share of the blocks of each matrix stays, those with the highest scores."""
    attention_block: tuple[int, int] = (32, 32)
    """Rows and columns of a block in the four attention matrices."""
    dense_block: tuple[int, int] | None = (32, 32)
    """Rows and columns of a block in the two feed-forward matrices; None: whole neurons."""
    initial_threshold: float = 0.0
    """Threshold before pruning begins; with topk, the share of blocks that stay, so 1."""
    final_threshold: float = 0.1
    """Threshold at the end of pruning; with topk, the share of blocks that stay."""
    prune_start: float = 0.05
    """Share of the steps, at the beginning, during which the threshold does not move."""
    prune_hold: float = 0.5
    """Share of the steps, at the end, during which the threshold is final."""
    regularization: float = 0.0
    """Weight of the mean sigmoid of the scores in the loss; it rises with the threshold to this."""
    attention_regularization: float = 1.0
    """Factor on `regularization` for the attention matrices."""
    dense_regularization: float = 1.0
    """Factor on `regularization` for the feed-forward matrices."""
    score_learning_rate: float = 1e-2
    """Peak learning rate of the scores, which have no weight decay."""
    min_density: float = 0.0
    """Share of the blocks of each matrix that stay in any case."""
    drop_uniform_heads: bool = False
    """Also remove heads without queries or keys, which changes the answers a little."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("kind", self.kind != "intermediate", "prunes by the loss of the spans alone")
        for name in ("prune_start", "prune_hold", "min_density"):
            self._check(name, 0 <= getattr(self, name) < 1, "a share, 0 to below 1")
        self._check(
            "prune_hold",
            self.prune_start + self.prune_hold < 1,
            f"leaves no step to prune in after prune-start {self.prune_start}",
        )
        for name in ("initial_threshold", "final_threshold"):
            self._check(name, 0 <= getattr(self, name) <= 1, "must be 0 to 1")
        self._check("final_threshold", self.final_threshold > 0, "must be above 0")
        self._check("score_learning_rate", self.score_learning_rate > 0, "must be above 0")
        for name in ("regularization", "attention_regularization", "dense_regularization"):
            self._check(name, getattr(self, name) >= 0, "must be 0 or more")
        rising = self.initial_threshold <= self.final_threshold
        if self.method == "topk":
            self._check("initial_threshold", not rising, "topk begins with a larger share")
            self._check("regularization", not self.regularization, "topk has no use for it")
            self._check("prune_start", self.prune_start > 0, "topk needs scores that have moved")
        else:
            self._check("initial_threshold", rising, "must not be above the final one")
        for name in ("attention_block", "dense_block"):
            self._check(name, min(getattr(self, name) or (1, 1)) > 0, "sizes count from 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A student and the stages that make it."""

    name: str
    """Name of the recipe, which is that of its file."""
    student: str
    """Hub id, folder, or `teacher:2,4,6`: those layers of the last stage's teacher."""
    stages: tuple[Stage, ...]
    """In their order; each starts from the student of the one before."""
    max_seq_length: int = 384
    """Tokens of a window."""
    doc_stride: int = 128
    """Tokens that neighbouring windows share."""
    max_query_length: int = 64
    """Tokens kept of a question."""
    seed: int = 42
    """Decides the order of the rows, new weights and dropout."""
    score: Literal["squad_v2", "squad_v1"] = "squad_v2"
    """The official score of its dev set."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"recipe {self.name}: no stages")


KIND_FIELDS = {
    "intermediate": ("layer_map", "hidden_weight", "attention_weight", "attention_target"),
    "prediction": ("kd_weight", "hard_weight", "temperature", "span_reduction", "head_dropout"),
    "supervised": ("head_dropout",),
}
"""The fields that only some kinds read."""


def used_fields(stage: Stage) -> list[str]:
    """Name the fields that a stage of its kind reads, in their order."""
    unread = {name for names in KIND_FIELDS.values() for name in names}
    unread -= set(KIND_FIELDS[stage.kind])
    return [field.name for field in fields(stage) if field.name not in unread]


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A recipe as its file has it."""

    recipe: Recipe
    """Named as the file."""
    sources: Mapping[str, str]
    """Where values are from, by their names in `table`."""
    aliases: tuple[str, ...]
    """Other names of a bundled recipe."""


def recipe_names() -> list[str]:
    """Name the bundled recipes."""
    return sorted(path.stem for path in BUNDLED.glob("*.toml"))


@cache
def read_recipe(path: Path) -> RecipeFile:
    """Read a recipe from its file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: an unknown key, a value of another type, one that its stage does not read, or
            in a bundled recipe one without a source; with file and key.
    """
    found, sources = read_toml(path), dict[str, str]()
    aliases, stages = found.pop("aliases", []), found.pop("stages", [])
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise ValueError(f"{path}: stages: expected tables, each begun by [[stages]]")
    values = _values(found, f"{path}: ", "", sources)
    made = [
        _stage(_values(stage, f"{path}: ", f"stages.{index}.", sources), f"{path}: stages.{index}.")
        for index, stage in enumerate(stages)
    ]
    recipe = fill(Recipe, values, f"{path}: ", name=path.stem, stages=tuple(made))
    if path.parent == BUNDLED:
        unsaid = [f"{key}: no source" for key, _, source in table(recipe, sources) if not source]
        raise_faults(str(path), unsaid, "say where each value is from")
    return RecipeFile(recipe=recipe, sources=sources, aliases=tuple(aliases))


def _values(
    given: Mapping[str, Any], where: str, at: str, sources: dict[str, str]
) -> dict[str, Any]:
    """Take values and sources of `key = {value = ..., source = "..."}` apart."""
    values = {}
    for key, value in given.items():
        if isinstance(value, dict):
            both = fill(_Sourced, value, f"{where}{at}{key}.")
            value, sources[at + key] = both.value, both.source
        values[key] = "none" if (key, value) == ("layer_map", UNIFORM) else value
    return values


@dataclass(frozen=True, kw_only=True)
class _Sourced:
    value: Any
    source: str


def _stage(values: Mapping[str, Any], where: str) -> Stage:
    """Make a stage; one that names a field of pruning prunes."""
    plain = {field.name for field in fields(Stage)}
    pruning = {field.name for field in fields(PruningStage)} - plain
    stage = fill(PruningStage if pruning & values.keys() else Stage, values, where)
    for key in values:
        if key not in used_fields(stage):
            raise ValueError(f"{where}{key}: a stage of kind {stage.kind} does not read it")
    return stage


def find_recipe(name: str) -> Recipe:
    """Give a recipe by its name, its alias, or its file.

    Raises:
        UsageError: there is none; with the near names.
        FileNotFoundError, ValueError: a file that is not there, or has a fault.
    """
    return find_file(name).recipe


def find_file(name: str) -> RecipeFile:
    """Give a recipe and where its values are from, as `find_recipe` does."""
    if name.endswith(".toml"):
        return read_recipe(Path(name))
    bundled = {stem: read_recipe(BUNDLED / f"{stem}.toml") for stem in recipe_names()}
    known = bundled | {alias: file for file in bundled.values() for alias in file.aliases}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"no recipe {name!r}; {hint} (a file is named FILE.toml)")
    return known[name]


def haystack_fidelity(recipe: Recipe) -> Recipe:
    """Train as Haystack did where we do better by default.

    Attention probabilities are matched, padding counts in every mean and softmax, biases and norms
    decay.
    Source: Haystack v1.26.4, haystack/modeling/training/base.py and model/optimization.py.
    Differs from it still: attention is compared before dropout, a window starts `doc_stride`
    tokens before the end of the last one (there: after its start), and questions of like length
    share a batch.
    """
    stages = tuple(
        replace(stage, attention_target="probabilities", count_padding=True, decay_all=True)
        for stage in recipe.stages
    )
    return replace(recipe, stages=stages)


@dataclass(frozen=True, kw_only=True)
class RecipesConfig:
    """Which recipe to print."""

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="NAME")] = None
    """A recipe, or its file; without it, all are listed."""


def table(recipe: Recipe, sources: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Give (field, value, source) of every value that the recipe's stages read."""
    names = [field.name for field in fields(Recipe) if field.name not in ("name", "stages")]
    values = {name: getattr(recipe, name) for name in names}
    for index, stage in enumerate(recipe.stages):
        values |= {f"stages.{index}.{name}": getattr(stage, name) for name in used_fields(stage)}
    return [
        (
            key,
            _shown(value, UNIFORM if key.endswith(".layer_map") else "none"),
            sources.get(key, ""),
        )
        for key, value in values.items()
    ]


def print_recipes(config: RecipesConfig) -> None:
    """Print a recipe's table, or one line for each recipe."""
    if config.name is not None:
        file = find_file(config.name)
        print(file.recipe.name)
        print(_aligned([("field", "value", "source"), *table(file.recipe, file.sources)]))
        return
    lines = [("recipe", "student", "stages")]
    for file in (find_file(name) for name in recipe_names()):
        recipe, names = file.recipe, ", ".join([file.recipe.name, *file.aliases])
        lines.append((names, recipe.student, ", ".join(stage.kind for stage in recipe.stages)))
    print(_aligned(lines))


def _shown(value: Any, nothing: str) -> str:
    if value is None:
        return nothing
    return f"{value:g}" if isinstance(value, float) else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        if row[0].endswith(".kind"):
            lines.append("")  # a stage begins
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]))
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    run(RecipesConfig, print_recipes)


if __name__ == "__main__":
    main()
