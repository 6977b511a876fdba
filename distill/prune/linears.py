"""Where the linear layers of an encoder are: BERT's, RoBERTa's and DistilBERT's names for them."""

from typing import Any, NamedTuple

from torch import nn

from distill.encoder import layers_of

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

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    ffn_in: nn.Linear
    ffn_out: nn.Linear
    activation: nn.Module
    """Between `ffn_in` and `ffn_out`."""

    def linears(self) -> dict[str, nn.Linear]:
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
