"""Serves ``trident_gpu.encoder``, PyTorch on a GPU; requests of different lengths come in one batch."""

from pathlib import Path

import triton_python_backend_utils as pb_utils

from trident.errors import ModelError
from trident.generation import Identity
from trident.model_parameters import start_model
from trident.runtime_repository import WEIGHTS
from trident.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from trident.text import TextContract
from trident.tokenization import unpadded
from trident_gpu.buckets import Buckets
from trident_gpu.encoder import TorchEncoder


class TritonPythonModel:
    """One instance of the encoder."""

    def initialize(self, args):
        model, version = Path(args["model_repository"]), args["model_version"]
        parameters = start_model(args)
        contract = TextContract.load(model.parent / "tokenizer" / version)
        longest = max(contract.query_max_tokens, contract.product_max_tokens)
        buckets = Buckets.of_lengths(Identity.load(model / version).query_tokens, longest)
        self.encoder = TorchEncoder.load(model / version / WEIGHTS, contract, buckets, device=parameters["device"])

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
