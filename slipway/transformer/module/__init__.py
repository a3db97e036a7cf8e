"""A transformer as torch computes it: tokens of all rows packed one after another, one small module per part.

Reading order: `network` (what it offers), `stack` (the order of computation), `attention` (heads, projections, the
formula) with the three ways of looking at tokens (`full_sequence`, `key_value_cache`, `cross_attention_cache`),
`feed_forward`, `embedding`, `inputs`, `packed_layout`, `linear`. Knows no file format and no way of decoding.
"""
