"""tensor2tensor's files: subword vocabularies, TFRecord shards of examples, TensorFlow checkpoints and our own.

No module here needs TensorFlow.
"""
