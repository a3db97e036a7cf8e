"""A transformer as torch computes it: tokens of all rows packed one after another, one small module per part.

Reading order: `network` (what it offers), `stack` and `layer` (the order of computation), `attention` with the three
ways of looking at tokens (`whole`, `cache`, `cross`), `feed_forward`, `experts`, `embedding`, `layout`, `linear`. Knows
no file format and no way of decoding.
"""
