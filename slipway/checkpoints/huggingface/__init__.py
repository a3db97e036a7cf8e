"""Checkpoints as `transformers` saves them: config.json and safetensors or pytorch_model.bin. Never imports it."""
