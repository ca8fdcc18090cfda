"""From a training run to a generation: merge, ONNX, catalogue, index, model repository; each stage proves itself."""
