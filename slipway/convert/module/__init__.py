"""`slipway convert-module`: a PyTorch class in a user's script, with its weights, to ONNX, TensorRT and repository."""
