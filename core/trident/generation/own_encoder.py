"""The encoder that a generation's queries and products are embedded by, with its tokenizer."""

from __future__ import annotations

from trident.encoder.served_encoder import ServedEncoder, load_encoder
from trident.encoder.tokenization import TextTokenizer
from trident.generation.generation import ENCODER_FOLDER, Generation


def own_encoder(
    generation: Generation, *, precision: str | None = None, threads: int = 1
) -> tuple[TextTokenizer, ServedEncoder]:
    """Return a generation's tokenizer and encoder.

    Args:
        generation: It.
        precision: Of the graph; None: the one that serves.
        threads: Of the encoder.

    Raises:
        TridentError: If a part is missing, damaged or of another encoder.
    """
    tokenizer = TextTokenizer.load(generation.version_folder("tokenizer"), generation.text_contract())
    encoder = load_encoder(
        generation.cpu_graph(precision),
        generation.folder / ENCODER_FOLDER,
        tokenizer,
        fingerprint=generation.manifest.encoder_fingerprint,
        threads=threads,
    )
    return tokenizer, encoder
