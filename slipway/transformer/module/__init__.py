"""A transformer as torch computes it: the tokens of all rows packed one after another, one small module per part.

Reading order: `network` (the interface), `stack` (the order of computation), `attention` (heads, projections, the
formula) with its three views (`full_sequence`, `key_value_cache`, `cross_attention_cache`), `feed_forward`,
`embedding`, `inputs`, `packed_layout`, `linear`. Knows no file format and no decoding method.
"""
