"""List the recipes, or print one: its models, its stages, and every number with its source.

A number comes from the card of a published model, or from the code that made the model, or it is
this project's own; then the reason is given.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

import tyro

from augment.base.command import UsageError, run
from distill.recipe_sources import SOURCES


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training: what is learned, on which rows, from whom, and how."""

    kind: Literal["intermediate", "prediction", "supervised"]
    """Learn the teacher's hidden states and attention, its answer spans, or the labels only."""
    rows: Literal["text", "augmented", "original"]
    """Train on plain text, on the original rows and all copies, or on the originals only."""
    teacher: str | None
    """Hub id or folder of the teacher; a supervised stage needs none."""
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
    """As Haystack v1 did, pad every window to max_seq_length and let padding count in the losses.
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
    """As `find_recipe` knows it."""
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


_TINYBERT = Recipe(
    name="tinybert-6l-768d-squad2",
    student="huawei-noah/TinyBERT_General_6L_768D",
    stages=(
        Stage(
            kind="intermediate",
            rows="augmented",
            teacher="deepset/bert-base-uncased-squad2",
            epochs=5,
            batch_size=26,
            learning_rate=5e-5,
            warmup=0.2,
            weight_decay=0.01,
        ),
        Stage(
            kind="prediction",
            rows="original",
            teacher="deepset/bert-base-uncased-squad2",
            epochs=5,
            batch_size=26,
            learning_rate=3e-5,
            warmup=0.2,
            weight_decay=0.01,
            kd_weight=1.0,
            temperature=1.0,
            head_dropout=0.1,
        ),
    ),
)

_TINYROBERTA = Recipe(
    name="tinyroberta-squad2",
    student="distilbert/distilroberta-base",
    stages=(
        Stage(
            kind="intermediate",
            rows="text",
            teacher="FacebookAI/roberta-base",
            epochs=4,
            batch_size=96,
            learning_rate=1e-4,
            warmup=0.2,
            weight_decay=0.01,
        ),
        Stage(
            kind="intermediate",
            rows="augmented",
            teacher="deepset/roberta-base-squad2",
            epochs=5,
            batch_size=96,
            learning_rate=5e-5,
            warmup=0.2,
            weight_decay=0.01,
        ),
        Stage(
            kind="prediction",
            rows="original",
            teacher="deepset/roberta-large-squad2",
            epochs=4,
            batch_size=96,
            learning_rate=3e-5,
            warmup=0.2,
            weight_decay=0.01,
            kd_weight=0.75,
            hard_weight=0.25,
            temperature=1.5,
            head_dropout=0.1,
        ),
    ),
)

_DISTILBERT = Recipe(
    name="distilbert-squad1",
    student="distilbert/distilbert-base-uncased",
    stages=(
        Stage(
            kind="prediction",
            rows="original",
            teacher="csarron/bert-base-uncased-squad-v1",
            epochs=3,
            batch_size=16,
            learning_rate=3e-5,
            kd_weight=0.5,
            hard_weight=0.5,
            temperature=2.0,
            span_reduction="mean",
        ),
    ),
    score="squad_v1",
)

_MINILM = Recipe(
    name="minilm-3l-384d-squad2",
    student="teacher:2,4,6",
    stages=(
        Stage(
            kind="intermediate",
            rows="augmented",
            teacher="minilm-qa",
            epochs=1,
            batch_size=32,
            learning_rate=1e-4,
            warmup=0.1,
            weight_decay=0.01,
        ),
        Stage(
            kind="prediction",
            rows="original",
            teacher="minilm-qa",
            epochs=4,
            batch_size=32,
            learning_rate=1e-4,
            warmup=0.1,
            weight_decay=0.01,
        ),
    ),
)

_STEPS = 110_660
"""Of nn_pruning's recorded runs: 20 epochs of 5,533."""
_BLOCK_STAGE = PruningStage(
    kind="prediction",
    rows="original",
    teacher="csarron/bert-base-uncased-squad-v1",
    epochs=20,
    batch_size=16,
    learning_rate=3e-5,
    warmup=5_400 / _STEPS,
    kd_weight=0.9,
    hard_weight=0.1,
    temperature=2.0,
    span_reduction="mean",
    prune_start=5_400 / _STEPS,
    prune_hold=54_000 / _STEPS,
    regularization=110.0,
)
_HYBRID_STAGE = replace(_BLOCK_STAGE, dense_block=None, regularization=20.0)

_BLOCK_SPARSE = Recipe(
    name="bert-block-sparse-squad1",
    student="google-bert/bert-base-uncased",
    stages=(_BLOCK_STAGE,),
    seed=17,
    score="squad_v1",
)

_HYBRID_SPARSE = replace(_BLOCK_SPARSE, name="bert-hybrid-sparse-squad1", stages=(_HYBRID_STAGE,))

_MINILM_SPARSE = Recipe(
    name="minilm-hybrid-sparse-squad1",
    student="teacher:1,2,3,4,5,6",
    stages=(
        replace(
            _HYBRID_STAGE,
            teacher="minilm-qa",
            epochs=1,
            batch_size=32,
            learning_rate=6e-5,
            warmup=0.05,
            prune_start=0.0,
            prune_hold=0.4,
            regularization=50.0,
            score_learning_rate=0.1,
        ),
    ),
    score="squad_v1",
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        *(_TINYBERT, _TINYROBERTA, _DISTILBERT, _MINILM),
        *(_BLOCK_SPARSE, _HYBRID_SPARSE, _MINILM_SPARSE),
    )
}
ALIASES = {"distbert-squad2-768d": "tinybert-6l-768d-squad2"}


def find_recipe(name: str) -> Recipe:
    """Give a recipe by its name or alias.

    Raises:
        UsageError: there is none; with the near names.
    """
    known = [*RECIPES, *ALIASES]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"no recipe {name!r}; {hint}")
    return RECIPES[ALIASES.get(name, name)]


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
    """A recipe; without it, all are listed."""


def table(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Give (field, value, source) of every value that the recipe's stages read."""
    sources = SOURCES[recipe.name]
    names = [field.name for field in fields(Recipe) if field.name not in ("name", "stages")]
    rows = [(name, _shown(getattr(recipe, name)), sources[name]) for name in names]
    for index, stage in enumerate(recipe.stages):
        for name in used_fields(stage):
            key = f"stages.{index}.{name}"
            value = getattr(stage, name)
            if name == "layer_map" and value is None:
                value = "uniform"
            rows.append((key, _shown(value), sources[key]))
    return rows


def print_recipes(config: RecipesConfig) -> None:
    """Print a recipe's table, or one line for each recipe."""
    if config.name is not None:
        recipe = find_recipe(config.name)
        print(recipe.name)
        print(_aligned([("field", "value", "source"), *table(recipe)]))
        return
    lines = [("recipe", "student", "stages")]
    for name, recipe in RECIPES.items():
        names = ", ".join([name, *(alias for alias, of in ALIASES.items() if of == name)])
        lines.append((names, recipe.student, ", ".join(stage.kind for stage in recipe.stages)))
    print(_aligned(lines))


def _shown(value: Any) -> str:
    if value is None:
        return "none"
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
