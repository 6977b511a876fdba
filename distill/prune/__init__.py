"""Pruning: readers that lose blocks of weights while they learn, and are smaller afterwards.

`masks` scores blocks, `schedule` says how far, `compaction` cuts the dead parts out;
`distill.training.pruning` puts them into the trainer. `eval.reading.pruned` loads what is left.
"""

from distill.prune.compaction import compact
from distill.prune.masks import Pruner
from eval.reading.pruned import Pruned, load_pruned, save_pruned

__all__ = ["Pruned", "Pruner", "compact", "load_pruned", "save_pruned"]
