"""Pruning: readers that lose blocks of weights while they learn, and are smaller afterwards.

`masks` scores blocks, `schedule` says how far, `training` puts both into the trainer, `compaction`
cuts the dead parts out. `eval.pruned` loads what is left.
"""

from distill.prune.compaction import compact
from distill.prune.masks import Pruner
from eval.pruned import Pruned, load_pruned, save_pruned

__all__ = ["Pruned", "Pruner", "compact", "load_pruned", "save_pruned"]
