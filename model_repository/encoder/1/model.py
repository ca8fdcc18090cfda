"""Serves ``trident.encoder`` with ONNX Runtime on the CPU; requests of different lengths come in one batch.

With ``allow_ragged_batch`` each request arrives as it was sent, (B, L) of its own: nothing is joined or padded.
"""

from pathlib import Path

import triton_python_backend_utils as pb_utils

from trident.admission import Admission
from trident.encoder import OnnxEncoder
from trident.encoding import RequestEncoder
from trident.errors import OverloadError, TridentError
from trident.generation import Identity
from trident.golden import GOLDEN_REQUEST
from trident.model_parameters import start_model
from trident.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS


class TritonPythonModel:
    """One instance of the encoder."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = start_model(args)
        identity = Identity.load(folder)
        encoder = OnnxEncoder.load(
            folder / identity.graph,
            threads=int(parameters["threads"]),
            encoder_fingerprint=identity.encoder_fingerprint,
        )
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
