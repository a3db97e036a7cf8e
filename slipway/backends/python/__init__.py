"""Triton Python models: the module `triton_python_backend_utils`, and the code that runs one `TritonPythonModel`."""
