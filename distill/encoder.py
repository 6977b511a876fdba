"""The encoder of a model, and its layers."""

from typing import Any

from torch import nn


def encoder_of(model: Any) -> Any:
    """Give the encoder of a model with a head; an encoder is its own."""
    return model.base_model


def layers_of(model: Any) -> nn.ModuleList:
    """Give the encoder's layers, first to last.

    Raises:
        ValueError: no list of `num_hidden_layers` layers in it (ALBERT shares one among all).
    """
    return named_layers(encoder_of(model))[1]


def named_layers(model: Any) -> tuple[str, nn.ModuleList]:
    """Give the list of layers in a model, with its name there.

    Raises:
        ValueError: there is none.
    """
    wanted = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return name, module
    raise ValueError(f"{type(model).__name__}: found no list of its {wanted} layers")
