"""The formats of tensor2tensor: hyper-parameters, vocabularies, records and checkpoints."""
