"""Serves ``trident_gpu.encoder``, PyTorch on a GPU; requests of different lengths come in one batch."""

from pathlib import Path

import triton_python_backend_utils as pb_utils

from trident.encoder.text import TextContract
from trident.generation.generation import WEIGHTS, Identity
from trident.search.admission import Admission
from trident.search.encoding import RequestEncoder
from trident.search.model_parameters import start_model
from trident.watch.failures import FailureWatch
from trident_gpu.buckets import Buckets
from trident_gpu.encoder import TorchEncoder


class TritonPythonModel:
    """One instance of the encoder."""

    def initialize(self, args):
        model, version = Path(args["model_repository"]), args["model_version"]
        parameters = start_model(args)
        contract = TextContract.load(model.parent / "tokenizer" / version)
        longest = max(contract.query_max_tokens, contract.product_max_tokens)
        identity = Identity.load(model / version)
        buckets = Buckets.of_lengths(identity.query_tokens, longest)
        encoder = TorchEncoder.load(model / version / WEIGHTS, contract, buckets, device=parameters["device"])
        admission = Admission.of_model(args, max_wait_ms=int(parameters["max_wait_ms"]))
        self.failure_watch = FailureWatch(identity, pb_utils)
        self.encoder = RequestEncoder(encoder, admission)

    def finalize(self):
        self.failure_watch.close()

    def execute(self, requests):
        return self.encoder.execute(requests, pb_utils, self.failure_watch.refusal)
