"""The Python environment of a model's own (EXECUTION_ENV_PATH): found, unpacked, entered."""
