"""What others published about the systems that the recipes follow: figures, where, and how made.

Nothing here was measured by this project. Two published figures that disagree both stand.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HUB = "https://huggingface.co/"
DISTILBERT_PAPER = "https://arxiv.org/abs/1910.01108"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Scores of one system on a dev set, under the official scorer's names."""

    system: str
    """A hub id, or what the source calls it."""
    scores: Mapping[str, float]
    """As published, in percent."""
    protocol: str
    """How predictions were made, as far as it is known."""
    source: str
    """Address of the text that states them."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something else that was published of a system."""

    text: str
    """The statement, with its number."""
    source: str
    """Address of the text that states it."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is known of the system that a recipe follows."""

    about: str
    """What the student is, in a sentence."""
    metric: str
    """squad_v2 or squad_v1."""
    figures: tuple[Figure, ...] = ()
    """Of students and teachers."""
    facts: tuple[Fact, ...] = ()
    """Other statements."""
    datasets: tuple[str, ...] = ()
    """Hub ids of what the recipe trains on."""
    measured_systems: tuple[str, ...] = ()
    """Hub ids whose figures a person with the weights would measure again."""
    train_file: str = "train-v2.0.json"
    """What it was or would be trained on."""
    texts: tuple[str, ...] = ()
    """Plain text that its stages need, as `distill.train --text` takes it."""
    notes: tuple[str, ...] = ()
    """What a reader should know before comparing."""
    citations: tuple[str, ...] = ("squad2", "tinybert")
    """Keys of `CITATIONS`."""


FARM = "`farm`: official script; predictions by FARM/Haystack, as its code and the digits tell"
VERIFIED = "`run_qa`: the hub's verified evaluation, threshold 0"
OFFICIAL_V1 = "official script of SQuAD 1.1; windows not stated"

_TINYBERT = Published(
    about=(
        "A six-layer, 768-wide student (`huawei-noah/TinyBERT_General_6L_768D`) of "
        "`deepset/bert-base-uncased-squad2`, distilled TinyBERT's way as deepset did for "
        "`deepset/tinybert-6l-768d-squad2`: hidden states and attention on the 20x set, then spans "
        "on the originals."
    ),
    metric="squad_v2",
    figures=(
        Figure(
            system="deepset/tinybert-6l-768d-squad2",
            scores={"exact": 71.87736882001179, "f1": 76.36111895973675},
            protocol=FARM,
            source=f"{HUB}deepset/tinybert-6l-768d-squad2",
        ),
        Figure(
            system="deepset/tinybert-6l-768d-squad2",
            scores={"exact": 73.8248, "f1": 77.1684},
            protocol=VERIFIED,
            source=f"{HUB}deepset/tinybert-6l-768d-squad2",
        ),
        Figure(
            system="deepset/bert-base-uncased-squad2 (teacher)",
            scores={"exact": 73.67977764676156, "f1": 77.87647139308865},
            protocol=FARM,
            source=f"{HUB}deepset/bert-base-uncased-squad2",
        ),
    ),
    facts=(
        Fact(
            text="trained on SQuAD 2.0 augmented 20 times and on SQuAD 2.0 itself, on one V100",
            source=f"{HUB}deepset/tinybert-6l-768d-squad2",
        ),
    ),
    datasets=("rajpurkar/squad_v2",),
    measured_systems=("deepset/tinybert-6l-768d-squad2", "deepset/bert-base-uncased-squad2"),
    notes=(
        "The two figures of the student disagree by 1.95 exact and 0.81 F1. They were made by two "
        "protocols; nobody published which part of them makes the difference "
        "(https://github.com/deepset-ai/haystack/issues/3052). Compare within one protocol.",
        "Haystack 1 matched attention after the softmax and counted padding; this recipe matches "
        "scores before it and leaves padding out. `--fidelity haystack` trains its way.",
    ),
)

_TINYROBERTA = Published(
    about=(
        "A six-layer RoBERTa student in three steps with three teachers, as deepset did for "
        "`deepset/tinyroberta-squad2`: plain text under `FacebookAI/roberta-base`, the 20x set "
        "under `deepset/roberta-base-squad2`, spans under `deepset/roberta-large-squad2`."
    ),
    metric="squad_v2",
    figures=(
        Figure(
            system="deepset/tinyroberta-squad2",
            scores={
                "exact": 78.69114798281817,
                "f1": 81.9198998536977,
                "HasAns_exact": 76.19770580296895,
                "HasAns_f1": 82.66446878592329,
                "NoAns_exact": 81.17746005046257,
                "NoAns_f1": 81.17746005046257,
            },
            protocol=FARM,
            source=f"{HUB}deepset/tinyroberta-squad2",
        ),
        Figure(
            system="deepset/tinyroberta-squad2",
            scores={"exact": 78.8627, "f1": 82.0355},
            protocol=VERIFIED,
            source=f"{HUB}deepset/tinyroberta-squad2",
        ),
    ),
    facts=(
        Fact(
            text="runs at twice the speed of `deepset/roberta-base-squad2`; trained on four V100",
            source=f"{HUB}deepset/tinyroberta-squad2",
        ),
    ),
    datasets=("rajpurkar/squad_v2",),
    measured_systems=("deepset/tinyroberta-squad2", "deepset/roberta-base-squad2"),
    texts=("corpus.txt",),
    notes=(
        "`corpus.txt` stands for plain text, a paragraph a line; deepset does not name theirs.",
    ),
)

_DISTILBERT = Published(
    about=(
        "DistilBERT fine-tuned on SQuAD 1.1 with a second step of distillation: half the loss is "
        "the teacher's spans at temperature 2, half the labels."
    ),
    metric="squad_v1",
    figures=(
        Figure(
            system="distilbert/distilbert-base-uncased-distilled-squad",
            scores={"f1": 86.9},
            protocol=OFFICIAL_V1,
            source=f"{HUB}distilbert/distilbert-base-uncased-distilled-squad",
        ),
        Figure(
            system="DistilBERT (D), table 2 of the paper",
            scores={"exact_match": 79.1, "f1": 86.9},
            protocol=OFFICIAL_V1,
            source=DISTILBERT_PAPER,
        ),
        Figure(
            system="bert-base-uncased (teacher)",
            scores={"f1": 88.5},
            protocol=OFFICIAL_V1,
            source=f"{HUB}distilbert/distilbert-base-uncased-distilled-squad",
        ),
        Figure(
            system="another's replication, teacher lewtun/bert-base-uncased-finetuned-squad-v1",
            scores={"exact_match": 78.4, "f1": 86.5},
            protocol="the `squad` metric of `datasets`",
            source=f"{HUB}walterg777/distilbert-base-uncased-finetuned-squad-d5716d28",
        ),
    ),
    facts=(
        Fact(
            text="40 % fewer parameters than bert-base-uncased, and 60 % faster",
            source=f"{HUB}distilbert/distilbert-base-uncased-distilled-squad",
        ),
    ),
    datasets=("rajpurkar/squad",),
    train_file="train-v1.1.json",
    measured_systems=(
        "distilbert/distilbert-base-uncased-distilled-squad",
        "csarron/bert-base-uncased-squad-v1",
    ),
    notes=(
        "The command that made the published student was never given "
        "(https://github.com/huggingface/transformers/issues/3206); this recipe's teacher is "
        "`csarron/bert-base-uncased-squad-v1`, and `python -m distill.recipes` says where each of "
        "its numbers is from.",
    ),
    citations=("squad1", "distilbert"),
)

_MINILM = Published(
    about=(
        "A three-layer, 384-wide student of a six-layer MiniLM reader, made of that reader's "
        "layers 2, 4 and 6. It is ours: small enough to run whole, with every arm to compare, on "
        "two cores. No published system is like it."
    ),
    metric="squad_v2",
    train_file="train-v2.0-rebuilt.json",
    notes=(
        "The rebuilt training set has 17,357 of the official 43,498 unanswerable questions, 17 % "
        "of its own; the rows of the arms and of their teacher were balanced, half without an "
        "answer as in the dev set. What matters is the distance between the arms, on one dev set "
        "and protocol, not the level.",
        "The training set is rebuilt, with 104,956 of the official 130,319 questions: figures are "
        "figures on that set.",
    ),
    citations=("squad2", "tinybert", "minilm"),
)

_BLOCK_SPARSE = Published(
    about=(
        "BERT-base whose linear layers are pruned in blocks while it is fine-tuned and distilled "
        "on SQuAD 1.1, as `madlag/bert-base-uncased-squad1.1-block-sparse-0.07-v1` was."
    ),
    metric="squad_v1",
    figures=(
        Figure(
            system="madlag/bert-base-uncased-squad1.1-block-sparse-0.07-v1",
            scores={"exact_match": 71.88, "f1": 81.36},
            protocol=OFFICIAL_V1,
            source=f"{HUB}madlag/bert-base-uncased-squad1.1-block-sparse-0.07-v1",
        ),
        Figure(
            system="bert-base-uncased (dense)",
            scores={"exact_match": 80.8, "f1": 88.5},
            protocol=OFFICIAL_V1,
            source=f"{HUB}madlag/bert-base-uncased-squad1.1-block-sparse-0.07-v1",
        ),
    ),
    facts=tuple(
        Fact(text=text, source=f"{HUB}madlag/bert-base-uncased-squad1.1-block-sparse-0.07-v1")
        for text in (
            "the linear layers keep 7.5 % of their weights, the model 28.2 %",
            "106 of 144 attention heads were removed",
            "1.92 times faster than dense with a block-sparse runtime, on an RTX 3090",
            "distilled from `csarron/bert-base-uncased-squad-v1`",
        )
    ),
    datasets=("rajpurkar/squad",),
    train_file="train-v1.1.json",
    measured_systems=("madlag/bert-base-uncased-squad1.1-block-sparse-0.07-v1",),
    notes=(
        "The published checkpoint's removed heads stand in `pruned_heads` of its configuration, "
        "which transformers 5 no longer reads: it cannot load it. `distill.prune.load_pruned` "
        "does, and so do `eval.predict` and `Reader`.",
        "7.5 and 28.2 % go together if BERT-base is counted with its pooler, 109,483,778 "
        "parameters: with 106 heads removed 88,032,386 parameters are left, of them 7.5 % of "
        "the linear weights are not 0.",
        "No hyperparameters of the published model are known. In its author's recorded runs "
        "blocks of 32 x 32 leave 37, 24 and 18 % of the linear weights at weights of the "
        "regularisation of 10, 20 and 30: 80, 110 and 150 are the sweep to begin with, and ours.",
    ),
    citations=("squad1", "movement", "block"),
)

_NN_PRUNING_RUNS = (
    "https://github.com/huggingface/nn_pruning/blob/main/analysis/article/files/"
    "results_squadv1.json"
)
_NN_PRUNING_PROTOCOL = "nn_pruning's run_qa, the `squad` metric of `datasets`"
_HYBRID_SPARSE = Published(
    about=(
        "BERT-base pruned on SQuAD 1.1 in blocks of the attention and in whole neurons of the "
        "feed-forward layers, as runs of the block-sparse model's author were: at 2.3 times the "
        "dense model's speed 2 F1 above blocks everywhere."
    ),
    metric="squad_v1",
    figures=tuple(
        Figure(
            system=f"nn_pruning, {kind}, weight {weight}: {density} % of the linear weights, "
            f"{heads} of 144 heads gone, {speed} times faster",
            scores={"exact_match": exact, "f1": f1},
            protocol=_NN_PRUNING_PROTOCOL,
            source=_NN_PRUNING_RUNS,
        )
        for kind, weight, density, heads, exact, f1, speed in (
            ("hybrid", 10, 18.4, 59, 79.39, 87.15, 2.26),
            ("hybrid", 20, 12.8, 77, 77.82, 86.12, 2.70),
            ("32 x 32 everywhere", 20, 24.1, 68, 77.87, 85.85, 2.01),
            ("32 x 32 everywhere", 30, 18.0, 76, 77.05, 85.18, 2.29),
        )
    ),
    facts=(
        Fact(
            text="speed there: a dev set in batches of 128 on an RTX 3090, after compaction, "
            "without a block-sparse kernel; dense 38.6 s",
            source=_NN_PRUNING_RUNS,
        ),
    ),
    datasets=("rajpurkar/squad",),
    train_file="train-v1.1.json",
    citations=("squad1", "movement", "block"),
)

_MINILM_SPARSE = Published(
    about=(
        "A six-layer, 384-wide MiniLM reader, pruned on SQuAD 1.1 with itself as the teacher. It "
        "is ours: small enough to run whole on two cores. No published system is like it."
    ),
    metric="squad_v1",
    train_file="train-v1.1.json",
    notes=(
        "The teacher was fine-tuned on SQuAD 2.0; on SQuAD 1.1 it must give a span, as every "
        "reader there.",
    ),
    citations=("squad1", "movement", "block", "minilm"),
)

PUBLISHED = {
    "tinybert-6l-768d-squad2": _TINYBERT,
    "tinyroberta-squad2": _TINYROBERTA,
    "distilbert-squad1": _DISTILBERT,
    "minilm-3l-384d-squad2": _MINILM,
    "bert-block-sparse-squad1": _BLOCK_SPARSE,
    "bert-hybrid-sparse-squad1": _HYBRID_SPARSE,
    "minilm-hybrid-sparse-squad1": _MINILM_SPARSE,
}

CITATIONS = {
    "squad1": """@inproceedings{rajpurkar-etal-2016-squad,
  title = {{SQuAD}: 100,000+ Questions for Machine Comprehension of Text},
  author = {Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy},
  booktitle = {Proceedings of EMNLP}, year = {2016}
}""",
    "squad2": """@inproceedings{rajpurkar-etal-2018-know,
  title = {Know What You Don't Know: Unanswerable Questions for {SQuAD}},
  author = {Rajpurkar, Pranav and Jia, Robin and Liang, Percy},
  booktitle = {Proceedings of ACL}, year = {2018}
}""",
    "tinybert": """@inproceedings{jiao-etal-2020-tinybert,
  title = {{TinyBERT}: Distilling {BERT} for Natural Language Understanding},
  author = {Jiao, Xiaoqi and Yin, Yichun and Shang, Lifeng and Jiang, Xin and Chen, Xiao and
            Li, Linlin and Wang, Fang and Liu, Qun},
  booktitle = {Findings of EMNLP}, year = {2020}
}""",
    "distilbert": """@misc{sanh2020distilbert,
  title = {{DistilBERT}, a distilled version of {BERT}: smaller, faster, cheaper and lighter},
  author = {Sanh, Victor and Debut, Lysandre and Chaumond, Julien and Wolf, Thomas},
  year = {2020}, eprint = {1910.01108}, archivePrefix = {arXiv}
}""",
    "minilm": """@inproceedings{wang-etal-2020-minilm,
  title = {{MiniLM}: Deep Self-Attention Distillation for Task-Agnostic Compression of
           Pre-Trained Transformers},
  author = {Wang, Wenhui and Wei, Furu and Dong, Li and Bao, Hangbo and Yang, Nan and Zhou, Ming},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2020}
}""",
    "movement": """@inproceedings{sanh-etal-2020-movement,
  title = {Movement Pruning: Adaptive Sparsity by Fine-Tuning},
  author = {Sanh, Victor and Wolf, Thomas and Rush, Alexander M.},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2020}
}""",
    "block": """@inproceedings{lagunas-etal-2021-block,
  title = {Block Pruning For Faster Transformers},
  author = {Lagunas, Fran{\\c{c}}ois and Charlaix, Ella and Sanh, Victor and
            Rush, Alexander M.},
  booktitle = {Proceedings of EMNLP}, year = {2021}
}""",
}
