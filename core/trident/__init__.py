"""What training, export and serving of Trident share: text contract, tokenizer, index, generation, server."""

import os

__version__ = "0.1.0"

# ONNX Runtime's packages for Linux tell Microsoft about models and machine from 1.29 on, unless this is set before they
# are imported: a shop's server talks to nobody. Who wants it says 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
