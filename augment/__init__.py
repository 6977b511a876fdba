"""From SQuAD JSON to checked Arrow shards: word replacement that keeps every answer."""

from augment.base.terminal import hush_interrupts

hush_interrupts()
