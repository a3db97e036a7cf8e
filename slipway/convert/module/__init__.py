"""`slipway convert-module`: a PyTorch class in a user's script, with weights, to ONNX, TensorRT and a repository."""
