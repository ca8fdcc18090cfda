"""What training, export and serving of Trident share: text contract, tokenizer, index, generation, server."""

__version__ = "0.1.0"
