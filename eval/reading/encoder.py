"""The encoder of a model: its layers, and where in a layer the linear ones are."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch.nn import Linear, Module, ModuleList

ATTENTION = ("query", "key", "value", "attention_output")
DENSE = ("ffn_in", "ffn_out")
KINDS = (*ATTENTION, *DENSE)
"""The six linear layers of an encoder's layer."""

_BERT = (
    *("attention.self.query", "attention.self.key", "attention.self.value"),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
    "intermediate.intermediate_act_fn",
)
_DISTILBERT = (
    *("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
    *("ffn.lin1", "ffn.lin2", "ffn.activation"),
)
PATHS = {"bert": _BERT, "roberta": _BERT, "distilbert": _DISTILBERT}
"""By `model_type`: a layer's linear layers in the order of `KINDS`, and its activation."""


class LayerParts(NamedTuple):
    """The modules of one layer that pruning touches; weights are (outputs, inputs)."""

    query: "Linear"
    key: "Linear"
    value: "Linear"
    attention_output: "Linear"
    ffn_in: "Linear"
    ffn_out: "Linear"
    activation: "Module"
    """Between `ffn_in` and `ffn_out`."""

    def linears(self) -> dict[str, "Linear"]:
        """Give the linear layers by their kind."""
        return {kind: getattr(self, kind) for kind in KINDS}


class DenseShape(NamedTuple):
    """Sizes of a layer that nothing has been cut from."""

    width: int
    num_heads: int
    num_neurons: int

    @property
    def head_size(self) -> int:
        """Rows of the query that belong to a head."""
        return self.width // self.num_heads

    def weights(self, kind: str) -> int:
        """Count the weights of a linear layer."""
        return self.width * (self.num_neurons if kind in DENSE else self.width)


def parts_of(model: Any) -> list[LayerParts]:
    """Find the parts of every layer, first to last.

    Raises:
        ValueError: a model of another make.
    """
    paths = PATHS.get(model.config.model_type)
    if paths is None:
        raise ValueError(
            f"{type(model).__name__}: pruning knows the layers of {', '.join(PATHS)} alone"
        )
    found: list[LayerParts] = []
    for layer in layers_of(model):
        parts: list[Any] = [layer.get_submodule(path) for path in paths]
        found.append(LayerParts(*parts))
    return found


def dense_shape(config: Any) -> DenseShape:
    """Read a configuration, which stays that of the dense model."""
    neurons = config.hidden_dim if config.model_type == "distilbert" else config.intermediate_size
    return DenseShape(config.hidden_size, config.num_attention_heads, neurons)


def positions_of(config: Any) -> int | None:
    """Give the most tokens that a model reads; None where it has no positions of its own."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:  # -1 of XLNet
        return None
    if "roberta" in config.model_type:
        positions -= config.pad_token_id + 1  # they begin after the padding's
    return positions


def encoder_of(model: Any) -> Any:
    """Give the encoder of a model with a head; an encoder is its own."""
    return model.base_model


def head_of(model: Any) -> Any:
    """Give the linear layer that makes start and end logits, or None.

    Its name is `qa_outputs`; ModernBERT's is `classifier`, as that of models that sort texts is.
    """
    reads = type(model).__name__.endswith("ForQuestionAnswering")
    for name in ("qa_outputs", "classifier"):
        head = getattr(model, name, None) if reads else None
        if getattr(head, "out_features", None) == 2:
            return head
    return None


def choose_attention(model: Any, name: str) -> bool:
    """Give a model an attention registered with transformers; False where it keeps its own."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # that it keeps its own is for the caller to say
    try:
        model.set_attn_implementation(name)
    finally:
        logging.set_verbosity(before)
    return bool(encoder_of(model).config._attn_implementation == name)


def layers_of(model: Any) -> "ModuleList":
    """Give the encoder's layers, first to last.

    Raises:
        ValueError: no list of `num_hidden_layers` layers in it (ALBERT shares one among all).
    """
    return named_layers(encoder_of(model))[1]


def named_layers(model: Any) -> tuple[str, "ModuleList"]:
    """Give the list of layers in a model, with its name there.

    Raises:
        ValueError: there is none.
    """
    from torch.nn import ModuleList

    wanted = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, ModuleList) and len(module) == wanted:
            return name, module
    raise ValueError(f"{type(model).__name__}: found no list of its {wanted} layers")
