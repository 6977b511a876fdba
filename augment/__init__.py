"""From SQuAD JSON to checked Arrow shards: word replacement that keeps every answer."""
