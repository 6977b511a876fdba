"""Students and teachers: loaded or cut out of one another, and checked to be a pair.

A student is a checkpoint or some layers of its teacher. A teacher of spans is a reader; a teacher
of hidden states is any encoder.
"""

import copy
import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from augment.base.checkpoints import check_whole, load_config, load_model, load_tokenizer
from eval.reading.encoder import head_of, layers_of, named_layers
from eval.reading.pruned import is_pruned, load_pruned, mark, resize
from eval.reading.reader import load_checkpoint

FETCH = "fetch it again, or name another"
FROM_TEACHER = "teacher:"


def make_student(spec: str, teacher: Any, seed: int, allow_bin: bool = False) -> Any:
    """Make a reader to be trained, in float32.

    Args:
        spec: a hub id or a folder, or `teacher:2,4,6`: those layers of `teacher`, counted from 1,
            with its embeddings and span head.
        teacher: a reader; read by `teacher:` alone, else None.
        seed: decides the weights of a span head where a checkpoint has none.
        allow_bin: read pytorch_model.bin where there are no safetensors.

    Raises:
        ValueError: a layer out of range, a checkpoint whose encoder is not whole, or a head
            without span outputs.
        OSError: nothing of that name, or no safetensors.
    """
    if spec.startswith(FROM_TEACHER):
        if teacher is None:
            raise ValueError(f"student {spec}: no teacher to take layers from")
        return _cut_out(teacher, _parse_layers(spec, len(layers_of(teacher))))
    if is_pruned(load_config(spec)):
        return load_pruned(spec, allow_bin=allow_bin).train()
    model, missing = load_model("AutoModelForQuestionAnswering", spec, allow_bin=allow_bin)
    head = find_span_head(model, spec)
    inside = f"{model.base_model_prefix}."
    new = {name for name in missing if not name.startswith(inside)}
    check_whole(spec, missing - new, FETCH)
    if new:
        print(f"{spec}: no span head; a new one is drawn by seed {seed}", file=sys.stderr)
        draw = torch.Generator().manual_seed(seed)
        for name, weight in model.named_parameters():
            if name in new and weight.dim() > 1:
                nn.init.normal_(weight, std=model.config.initializer_range, generator=draw)
        nn.init.zeros_(head.bias)
    return model.train()


def load_teacher(name: str, *, span_head: bool, allow_bin: bool = False) -> tuple[Any, Any]:
    """Load a teacher and its fast tokenizer: frozen, in eval mode, float32.

    Args:
        name: a hub id or a folder.
        span_head: whether it must be a reader; else its encoder alone is loaded, without pooler.
        allow_bin: as in `make_student`.

    Returns:
        Tokenizer and model.

    Raises:
        ValueError: no head with span outputs, an encoder that is not whole, no fast tokenizer.
        OSError: nothing of that name, or no safetensors.
    """
    if span_head:
        tokenizer, model = load_checkpoint(name, dtype="float32", allow_bin=allow_bin)
        find_span_head(model, name)
    else:
        tokenizer = load_tokenizer(name)
        if is_pruned(load_config(name)):
            reader = load_pruned(name, allow_bin=allow_bin)
            model = reader.base_model
            model.pruned = reader.pruned
        else:
            model, missing = load_model("AutoModel", name, allow_bin=allow_bin)
            needed = {key for key in missing if not key.startswith("pooler.")}
            check_whole(name, needed, FETCH)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
    return tokenizer, model.eval().requires_grad_(False)


def uniform_layer_map(num_student_layers: int, num_teacher_layers: int) -> tuple[int, ...]:
    """Match student layers with evenly spaced teacher layers, the last with the last.

    12 to 3: (4, 8, 12).

    Raises:
        ValueError: the teacher's layers are no multiple of the student's.
    """
    step, rest = divmod(num_teacher_layers, num_student_layers)
    if rest or not step:
        raise ValueError(
            f"{num_teacher_layers} teacher layers cannot be spread evenly over "
            f"{num_student_layers} student layers; name {num_student_layers} of them with "
            "--stages.N.layer-map"
        )
    return tuple(range(step, num_teacher_layers + 1, step))


def check_layer_map(
    layer_map: Sequence[int], num_student_layers: int, num_teacher_layers: int
) -> None:
    """See that every student layer has a teacher layer, counted from 1.

    Raises:
        ValueError: another number of layers, or one that the teacher lacks.
    """
    shown = " ".join(map(str, layer_map))
    if len(layer_map) != num_student_layers:
        raise ValueError(
            f"--stages.N.layer-map {shown}: {len(layer_map)} layers for a student of "
            f"{num_student_layers}; name one teacher layer for each"
        )
    _check_range(layer_map, num_teacher_layers, f"--stages.N.layer-map {shown}")


def check_same_tokenizer(teacher: Any, student: Any, names: tuple[str, str]) -> None:
    """See that two fast tokenizers turn text into the same ids.

    Args:
        teacher, student: their tokenizers.
        names: what the two models are called, for the message.

    Raises:
        ValueError: vocabulary, normalisation, splitting or merges differ.
    """
    pair = f"teacher {names[0]} and student {names[1]}"
    advice = "a student learns from a teacher of the same tokenizer alone"
    theirs, ours = teacher.get_vocab(), student.get_vocab()
    different = [
        token for token in sorted({*theirs, *ours}) if theirs.get(token) != ours.get(token)
    ]
    if different:
        token = different[0]
        raise ValueError(
            f"{pair} have different vocabularies: {len(theirs):,} and {len(ours):,} tokens, "
            f"{len(different):,} of them differ, such as {token!r} ({theirs.get(token)} and "
            f"{ours.get(token)}); {advice}"
        )
    rules = zip(_text_rules(teacher).items(), _text_rules(student).values(), strict=True)
    for (name, their_rule), our_rule in rules:
        if their_rule != our_rule:
            raise ValueError(
                f"{pair} have different tokenizers: {name} {their_rule:.200} and "
                f"{our_rule:.200}; {advice}"
            )


def find_span_head(model: Any, name: str) -> nn.Linear:
    """Give the layer that makes start and end logits.

    Raises:
        ValueError: there is none, or it has other outputs.
    """
    head = head_of(model)
    if not isinstance(head, nn.Linear):
        found = getattr(model, "qa_outputs", None)
        raise ValueError(
            f"{name}: a head without span outputs (qa_outputs: {found or 'none'}); name a model "
            "that was fine-tuned on SQuAD"
        )
    return head


def _parse_layers(spec: str, num_layers: int) -> tuple[int, ...]:
    try:
        layers = tuple(int(layer) for layer in spec.removeprefix(FROM_TEACHER).split(","))
    except ValueError:
        raise ValueError(f"student {spec}: name layers as in teacher:2,4,6") from None
    _check_range(layers, num_layers, f"student {spec}")
    if list(layers) != sorted(set(layers)):
        raise ValueError(f"student {spec}: name each layer once, lower ones first")
    return layers


def _check_range(layers: Sequence[int], num_layers: int, what: str) -> None:
    wrong = [layer for layer in layers if not 1 <= layer <= num_layers]
    if wrong:
        raise ValueError(f"{what}: no layer {wrong[0]}; the teacher has layers 1 to {num_layers}")


def _cut_out(teacher: Any, layers: Sequence[int]) -> Any:
    """Make a model of the teacher's class that has only `layers`, with the teacher's weights."""
    find_span_head(teacher, "the teacher")
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(layers)
    config.dtype = torch.float32
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, then replaced
        student = type(teacher)(config)
    left = None
    if hasattr(teacher, "pruned"):
        left = [teacher.pruned.layers[layer - 1] for layer in layers]
        resize(student, left)
    prefix = named_layers(teacher)[0] + "."
    places = {str(layer - 1): str(place) for place, layer in enumerate(layers)}
    weights = {}
    for name, weight in teacher.state_dict().items():
        if name.startswith(prefix):
            layer, _, rest = name.removeprefix(prefix).partition(".")
            if layer in places:
                weights[f"{prefix}{places[layer]}.{rest}"] = weight
        else:
            weights[name] = weight
    student.load_state_dict(weights)
    if left is not None:
        mark(student, left)
    return student


def _text_rules(tokenizer: Any) -> dict[str, str]:
    """Give what decides ids beside the vocabulary, as JSON."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    found = {name: rules[name] for name in ("normalizer", "pre_tokenizer")}
    (found["pre_tokenizer"] or {}).pop("trim_offsets", None)  # moves offsets alone
    found["merges"] = rules["model"].get("merges")
    return {name: json.dumps(rule, sort_keys=True) for name, rule in found.items()}
