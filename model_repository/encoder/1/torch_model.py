"""Serves ``trident_gpu.encoder``, PyTorch on a GPU; requests of different lengths come in one batch."""

from pathlib import Path

import triton_python_backend_utils as pb_utils

from trident.admission import Admission
from trident.encoding import RequestEncoder
from trident.errors import OverloadError, TridentError
from trident.generation import Identity
from trident.golden import GOLDEN_REQUEST
from trident.model_parameters import start_model
from trident.runtime_repository import WEIGHTS
from trident.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from trident.text import TextContract
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
        encoder = TorchEncoder.load(model / version / WEIGHTS, contract, buckets, device=parameters["device"])
        admission = Admission.of_model(args, max_wait_ms=int(parameters["max_wait_ms"]))
        self.encoder = RequestEncoder(encoder, admission)

    def execute(self, requests):
        asked = [
            (
                self.tensor(request, INPUT_IDS),
                self.tensor(request, ATTENTION_MASK),
                request.request_id() != GOLDEN_REQUEST,
            )
            for request in requests
        ]
        return [self.response(answer) for answer in self.encoder.answers(asked)]

    @staticmethod
    def tensor(request, name):
        return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

    @staticmethod
    def response(answer):
        if isinstance(answer, TridentError):
            overload = isinstance(answer, OverloadError)
            code = pb_utils.TritonError.UNAVAILABLE if overload else pb_utils.TritonError.INTERNAL
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(answer), code))
        return pb_utils.InferenceResponse([pb_utils.Tensor(EMBEDDING, answer)])
