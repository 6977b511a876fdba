"""From a reader and a dev set to predictions and the official SQuAD scores."""

from augment.base.terminal import hush_interrupts

hush_interrupts()
