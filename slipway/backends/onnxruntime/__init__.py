"""The backend `onnxruntime`: ONNX graphs on the CPU. The library of the same name is imported when a model loads."""
