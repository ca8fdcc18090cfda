"""The served encoder in PyTorch, for GPUs where no TensorRT plan can be."""
