"""The backend `openvino`: OpenVINO IR and ONNX graphs on the CPU. The library is imported when a model loads."""
