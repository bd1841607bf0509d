"""Trained networks as ONNX files: folding, export, verification, quantization."""
