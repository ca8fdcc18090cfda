"""Serves ``trident.encoder.encoder`` with ONNX Runtime on the CPU; requests of different lengths come in one batch.

With ``allow_ragged_batch`` each request arrives as it was sent, (B, L) of its own: nothing is joined or padded.
"""

from pathlib import Path

import triton_python_backend_utils as pb_utils

from trident.encoder.encoder import OnnxEncoder
from trident.generation.generation import Identity
from trident.search.admission import Admission
from trident.search.encoding import RequestEncoder
from trident.search.model_parameters import start_model
from trident.watch.failures import FailureWatch


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
        self.failure_watch = FailureWatch(identity, pb_utils)
        self.encoder = RequestEncoder(encoder, admission)

    def finalize(self):
        self.failure_watch.close()

    def execute(self, requests):
        return self.encoder.execute(requests, pb_utils, self.failure_watch.refusal)
