"""From scores over the vocabulary to sequences: step functions on torch tensors, one file per rule.

`batch.DecodingBatch` is what an engine drives: it is given the scores of one step and says which hypotheses go on with
which tokens. Nothing here knows a model, a cache, a file format or a request; figures that are out of range are the
caller's mistake, not a client's.
"""
