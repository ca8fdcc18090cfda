"""Fine-tuning of bi-encoders on labelled pairs: data, losses, LoRA, loop and evaluation."""
