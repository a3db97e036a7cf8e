"""Triton Python models: the `triton_python_backend_utils` surface, and what runs one `TritonPythonModel`."""
