//! Vision models born as ONNX graphs.
