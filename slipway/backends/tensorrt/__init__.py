"""The backend `tensorrt`: TensorRT plans on NVIDIA GPUs. Its libraries are imported when a model loads."""
