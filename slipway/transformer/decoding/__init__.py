"""From scores over the vocabulary to sequences: step functions on torch tensors, one file per rule.

An engine drives a `batch.DecodingBatch`: it passes in the scores of one step and gets the hypotheses that continue,
with their tokens. Nothing here knows a model, a cache, a file format or a request; values that are out of range are the
caller's mistake, not a client's.
"""
