"""Fine-tuning of bi-encoders on labelled pairs: data, losses, LoRA, loop and evaluation."""

import os

# bm25s imports JAX where that is installed, which would keep three quarters of a GPU's memory to itself.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
