"""From shards and a teacher to a six-layer student."""

from augment.base.terminal import hush_interrupts

hush_interrupts()
