"""From untrusted model files and torch modules to Graphs; the sole importers of onnx and torch.export."""
