"""Where every value of the recipes is from: a model's card, reference code, or us."""

from collections.abc import Mapping, Sequence

Sources = Mapping[str, str]

_HAYSTACK = "Haystack v1.26.4"
_FARM_READER = f"{_HAYSTACK}, nodes/reader/farm.py"
_OUR_TARGET = "ours: TinyBERT's; Haystack matched probabilities (--fidelity haystack)"
_OUR_LOSSES: Sources = {
    "layer_map": "TinyBERT's task_distill.py, and Haystack: evenly spaced, the last to the last",
    "hidden_weight": "TinyBERT's task_distill.py, and Haystack",
    "attention_weight": "TinyBERT's task_distill.py, and Haystack",
    "attention_target": _OUR_TARGET,
}
_HAYSTACK_OPTIMIZER: Sources = {
    "warmup": f"LinearWarmup in the card, 0.2 in {_FARM_READER}",
    "weight_decay": f"{_HAYSTACK}, modeling/model/optimization.py",
    "decay_all": "ours: not biases and norms, as BERT; Haystack decays all (--fidelity haystack)",
    "adam_epsilon": f"{_HAYSTACK}: torch.optim.AdamW's default",
    "max_grad_norm": f"{_HAYSTACK}, modeling/model/optimization.py",
    "count_padding": "ours: padding is no text; Haystack counts it (--fidelity haystack)",
}
_HAYSTACK_WINDOWS: Sources = {
    "doc_stride": f"{_FARM_READER}; there a step, ours run_qa's overlap",
    "max_query_length": f"{_FARM_READER}",
    "seed": f"{_HAYSTACK}: set_all_seeds(42)",
}

_CARD = "card of deepset/tinybert-6l-768d-squad2"
_TINYBERT_SOURCES: Sources = {
    "student": _CARD,
    "max_seq_length": _CARD,
    **_HAYSTACK_WINDOWS,
    "score": f"{_CARD}: SQuAD 2.0 dev set",
}
_TINYBERT_STAGE: Sources = {
    "kind": _CARD,
    "teacher": _CARD,
    "epochs": _CARD,
    "batch_size": _CARD,
    "learning_rate": _CARD,
    **_HAYSTACK_OPTIMIZER,
}
_TINYBERT_STAGES: Sequence[Sources] = (
    {**_TINYBERT_STAGE, "rows": f"{_CARD}: the training set x 20", **_OUR_LOSSES},
    {
        **_TINYBERT_STAGE,
        "rows": f"{_CARD}: the training set without augmentation",
        "kd_weight": _CARD,
        "hard_weight": f"1 - kd_weight: {_HAYSTACK}, modeling/training/base.py",
        "temperature": _CARD,
        "span_reduction": f"{_HAYSTACK}, modeling/training/base.py: batchmean of both",
        "head_dropout": f"{_CARD}: embeds_dropout_prob",
    },
)

_ROBERTA_CARD = "card of deepset/tinyroberta-squad2"
_GENERAL_CARD = "card of deepset/tinyroberta-6l-768d"
_TINYROBERTA_SOURCES: Sources = {
    "student": "ours: of the shape of deepset/tinyroberta-6l-768d, whose card names no start",
    "max_seq_length": f"{_ROBERTA_CARD}, {_GENERAL_CARD}",
    "doc_stride": f"{_ROBERTA_CARD}; there a step, ours run_qa's overlap",
    "max_query_length": _ROBERTA_CARD,
    "seed": _HAYSTACK_WINDOWS["seed"],
    "score": f"{_ROBERTA_CARD}: SQuAD 2.0 dev set",
}
_TINYROBERTA_STAGES: Sequence[Sources] = (
    {
        "kind": _GENERAL_CARD,
        "rows": f"{_GENERAL_CARD}: The Pile; ours: the text that --text names",
        "teacher": _GENERAL_CARD,
        "epochs": _GENERAL_CARD,
        "batch_size": _GENERAL_CARD,
        "learning_rate": _GENERAL_CARD,
        **_HAYSTACK_OPTIMIZER,
        "warmup": _GENERAL_CARD,
        **_OUR_LOSSES,
    },
    {
        "kind": _ROBERTA_CARD,
        "rows": f"{_ROBERTA_CARD}: an augmented version of SQuAD 2.0",
        "teacher": _ROBERTA_CARD,
        "epochs": f"{_FARM_READER}: the card is silent on this step",
        "batch_size": "ours: as in the other steps; the card is silent on this one",
        "learning_rate": f"{_FARM_READER}: the card is silent on this step",
        **_HAYSTACK_OPTIMIZER,
        "warmup": _FARM_READER,
        **_OUR_LOSSES,
    },
    {
        "kind": _ROBERTA_CARD,
        "rows": "ours: as tinybert-6l-768d-squad2; the card is silent",
        "teacher": _ROBERTA_CARD,
        "epochs": _ROBERTA_CARD,
        "batch_size": _ROBERTA_CARD,
        "learning_rate": _ROBERTA_CARD,
        **_HAYSTACK_OPTIMIZER,
        "warmup": _ROBERTA_CARD,
        "kd_weight": f"{_ROBERTA_CARD}: distillation_loss_weight",
        "hard_weight": f"1 - kd_weight: {_HAYSTACK}, modeling/training/base.py",
        "temperature": _ROBERTA_CARD,
        "span_reduction": f"{_HAYSTACK}, modeling/training/base.py: batchmean of both",
        "head_dropout": "Haystack v1, modeling/conversion/transformers.py: embeds_dropout_prob",
    },
)

_SCRIPT = "transformers' run_squad_w_distillation.py"
_DISTILBERT_SOURCES: Sources = {
    "student": "card of distilbert/distilbert-base-uncased-distilled-squad",
    "max_seq_length": _SCRIPT,
    "doc_stride": _SCRIPT,
    "max_query_length": _SCRIPT,
    "seed": _SCRIPT,
    "score": "card of distilbert/distilbert-base-uncased-distilled-squad: SQuAD 1.1 dev set",
}
_DISTILBERT_STAGES: Sequence[Sources] = (
    {
        "kind": _SCRIPT,
        "rows": _SCRIPT,
        "teacher": "ours: a public BERT-base of SQuAD 1.1; DistilBERT's own is not",
        "epochs": _SCRIPT,
        "batch_size": "ours: the script has 8 a GPU; no command was published",
        "learning_rate": "ours: run_qa's for BERT-base on SQuAD 1.1; the script has 5e-5",
        "warmup": _SCRIPT,
        "weight_decay": _SCRIPT,
        "decay_all": "no weight decay, so it does nothing",
        "adam_epsilon": _SCRIPT,
        "max_grad_norm": _SCRIPT,
        "kd_weight": f"{_SCRIPT}: --alpha_ce",
        "hard_weight": f"{_SCRIPT}: --alpha_squad",
        "temperature": _SCRIPT,
        "span_reduction": f"{_SCRIPT}: half of each",
        "head_dropout": "DistilBertForQuestionAnswering has its own dropout there",
        "count_padding": "ours: padding is no text; the script's softmax counts it",
    },
)

_MINILM_STAGE: Sources = {
    "kind": "ours: as tinybert-6l-768d-squad2",
    "rows": "ours: as tinybert-6l-768d-squad2",
    "teacher": "ours: --teacher names the folder of a BERT reader of six layers",
    "batch_size": "ours: as in TinyBERT's README",
    "learning_rate": "ours: above TinyBERT's 5e-5, for a model half as wide; not tuned",
    "warmup": "ours: the default of TinyBERT's task_distill.py",
    "weight_decay": "ours: as BERT was trained",
    "decay_all": "ours: as BERT was trained",
    "adam_epsilon": "ours: torch.optim.AdamW's default",
    "max_grad_norm": "ours: as BERT was trained",
    "count_padding": "ours: padding is no text",
}
_MINILM_SOURCES: Sources = {
    "student": "ours: every second layer of a reader of six",
    **dict.fromkeys(("max_seq_length", "doc_stride"), "ours: run_qa's usual"),
    "max_query_length": "ours: BERT's run_squad.py",
    "seed": "ours: as the other recipes",
    "score": "the teacher reads SQuAD 2.0",
}
_MINILM_STAGES: Sequence[Sources] = (
    {**_MINILM_STAGE, "epochs": "ours: a pass over 20 copies is long", **_OUR_LOSSES},
    {
        **_MINILM_STAGE,
        "epochs": "ours: between tinybert-6l-768d-squad2's 5 and DistilBERT's 3",
        "kd_weight": "ours: as tinybert-6l-768d-squad2",
        "hard_weight": "ours: as tinybert-6l-768d-squad2",
        "temperature": "ours: as tinybert-6l-768d-squad2",
        "span_reduction": "ours: as tinybert-6l-768d-squad2",
        "head_dropout": "ours: BERT's reader has none",
    },
)

_MOVEMENT = "transformers' movement-pruning, masked_run_squad.py"
_NN_PRUNING = "nn_pruning"
_RUNS = "nn_pruning, analysis/article/files/results_squadv1.json"
_SPARSE_CARD = "card of madlag's block-sparse-0.07 BERT"
_SPARSE_SOURCES: Sources = {
    "student": f"{_RUNS}; {_SPARSE_CARD}",
    "max_seq_length": _RUNS,
    "doc_stride": f"{_MOVEMENT}: its default, as run_qa's",
    "max_query_length": f"{_MOVEMENT}: its default, as run_qa's",
    "seed": _RUNS,
    "score": f"{_SPARSE_CARD}: SQuAD 1.1 dev set",
}
_SPARSE_STAGE: Sources = {
    "kind": _RUNS,
    "rows": _RUNS,
    "teacher": _SPARSE_CARD,
    **dict.fromkeys(("epochs", "batch_size", "learning_rate", "warmup"), _RUNS),
    "weight_decay": _RUNS,
    "decay_all": "no weight decay, so it does nothing",
    "adam_epsilon": _MOVEMENT,
    "max_grad_norm": _MOVEMENT,
    **dict.fromkeys(("kd_weight", "hard_weight", "temperature"), _RUNS),
    "span_reduction": f"{_MOVEMENT}: half of each",
    "head_dropout": "BertForQuestionAnswering has none",
    "count_padding": "ours: padding is no text; the script's softmax counts it",
    "method": f"{_RUNS}: sigmoied_threshold",
    "attention_block": f"{_SPARSE_CARD}: blocks; 32 x 32 in nn_pruning's runs",
    "dense_block": "ours: 32 x 32 everywhere, as nn_pruning's runs of that name",
    "initial_threshold": f"{_RUNS}; {_MOVEMENT}",
    "final_threshold": f"{_RUNS}; {_MOVEMENT}",
    "prune_start": f"{_RUNS}: 5,400 of 110,660 steps",
    "prune_hold": f"{_RUNS}: 54,000 of 110,660 steps",
    "regularization": "ours: no run came to 7.5 %; density falls as its power -0.66; try 80 to 150",
    "attention_regularization": _RUNS,
    "dense_regularization": _RUNS,
    "score_learning_rate": f"{_RUNS}; {_MOVEMENT}",
    "min_density": f"{_NN_PRUNING}: linear_min_parameters of its command line",
    "drop_uniform_heads": "ours: their removal is not exact; nn_pruning removes them",
}
_HYBRID_STAGE: Sources = {
    **_SPARSE_STAGE,
    "dense_block": f"{_RUNS}: 1d_alt, scores that ffn_in's rows and ffn_out's columns share",
    "regularization": f"{_RUNS}: 12.8 % of the linear weights, 77 heads gone, F1 86.1",
}
_MINILM_SPARSE_SOURCES: Sources = {
    **_SPARSE_SOURCES,
    "student": "ours: all layers of a reader of six, so it begins as its teacher",
    "seed": "ours: as the other recipes",
    "score": "the rows are SQuAD 1.1's",
}
_MINILM_SPARSE_STAGE: Sources = {
    **_HYBRID_STAGE,
    "teacher": "ours: --teacher names the folder of a BERT reader of six layers",
    "epochs": "ours: it begins as a reader",
    "batch_size": "ours: as minilm-3l-384d-squad2",
    "learning_rate": "ours: between BERT's and a student's of that width; not tuned",
    "warmup": "ours: short, as it begins as a reader",
    "prune_start": "ours: it begins as a reader",
    "prune_hold": "ours: a short training",
    "regularization": "ours: the middle one of a sweep of 20, 50 and 150",
    "score_learning_rate": "ours: scores must fall by 2.2 in far fewer steps",
}


def _flat(recipe: Sources, stages: Sequence[Sources]) -> dict[str, str]:
    """Put `stages.N.` before the names of a stage's fields."""
    flat = dict(recipe)
    for index, stage in enumerate(stages):
        flat |= {f"stages.{index}.{name}": source for name, source in stage.items()}
    return flat


SOURCES: dict[str, Sources] = {
    "tinybert-6l-768d-squad2": _flat(_TINYBERT_SOURCES, _TINYBERT_STAGES),
    "tinyroberta-squad2": _flat(_TINYROBERTA_SOURCES, _TINYROBERTA_STAGES),
    "distilbert-squad1": _flat(_DISTILBERT_SOURCES, _DISTILBERT_STAGES),
    "minilm-3l-384d-squad2": _flat(_MINILM_SOURCES, _MINILM_STAGES),
    "bert-block-sparse-squad1": _flat(_SPARSE_SOURCES, [_SPARSE_STAGE]),
    "bert-hybrid-sparse-squad1": _flat(_SPARSE_SOURCES, [_HYBRID_STAGE]),
    "minilm-hybrid-sparse-squad1": _flat(_MINILM_SPARSE_SOURCES, [_MINILM_SPARSE_STAGE]),
}
"""Of each recipe, where every value is from: `student`, `stages.0.learning_rate`, ..."""
