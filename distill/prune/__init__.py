"""Pruning: readers that lose blocks of weights while they learn, and are smaller afterwards.

`linears` names what is pruned, `masks` scores it, `schedule` says how far, `training` puts both
into the trainer, `compact` cuts the dead parts out, `checkpoint` saves and loads what is left.
"""

from distill.prune.checkpoint import load_pruned, save_pruned
from distill.prune.compact import Pruned, compact
from distill.prune.masks import Pruner

__all__ = ["Pruned", "Pruner", "compact", "load_pruned", "save_pruned"]
