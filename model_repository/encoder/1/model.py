"""Serves ``trident.encoder`` with ONNX Runtime on the CPU; requests of different lengths come in one batch.

With ``allow_ragged_batch`` each request arrives as it was sent, (B, L) of its own: nothing is joined or padded.
"""

from pathlib import Path

import triton_python_backend_utils as pb_utils

from trident.encoder import OnnxEncoder
from trident.errors import ModelError
from trident.generation import Identity
from trident.model_parameters import start_model
from trident.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from trident.tokenization import unpadded


class TritonPythonModel:
    """One instance of the encoder."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = start_model(args)
        identity = Identity.load(folder)
        self.encoder = OnnxEncoder.load(
            folder / identity.graph,
            threads=int(parameters["threads"]),
            encoder_fingerprint=identity.encoder_fingerprint,
        )

    def execute(self, requests):
        try:
            return self.answers(requests)
        except ModelError as error:
            if len(requests) > 1:  # one bad request must not fail the others
                return [self.execute([request])[0] for request in requests]
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))]

    def answers(self, requests):
        rows, ends = [], []
        for request in requests:
            tensors = [pb_utils.get_input_tensor_by_name(request, name) for name in (INPUT_IDS, ATTENTION_MASK)]
            rows += unpadded(*(tensor.as_numpy() for tensor in tensors))
            ends.append(len(rows))
        embeddings = self.encoder.embed_ids(rows, pad_id=0)  # the mask hides what pads
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(EMBEDDING, embeddings[start:end])])
            for start, end in zip([0, *ends[:-1]], ends, strict=True)
        ]
