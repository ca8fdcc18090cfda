"""Serves ``trident.search.suggesting``: what somebody may be about to type."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.errors import TridentError
from trident.generation.generation import Identity
from trident.lexical.suggestions import SUGGESTIONS_FILE, Suggestions
from trident.retrieval.tensors import GENERATION, PREFIX, K
from trident.search.adapters import tensor
from trident.search.model_parameters import start_model
from trident.search.suggesting import read_prefixes, suggest
from trident.watch.failures import FailureWatch


class TritonPythonModel:
    """The one instance of the suggester."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        start_model(args)
        self.identity = Identity.load(folder)
        self.suggestions = Suggestions(folder / SUGGESTIONS_FILE)
        self.failure_watch = FailureWatch(self.identity, pb_utils)

    def finalize(self):
        self.failure_watch.close()

    def execute(self, requests):
        return [self.response(request) for request in requests]

    def response(self, request):
        try:
            asked = read_prefixes(tensor(request, pb_utils, PREFIX), tensor(request, pb_utils, K))
        except TridentError as error:
            return self.failure_watch.refusal(error)
        of = np.full((len(asked), 1), self.identity.id.encode(), dtype=np.object_)
        tensors = {**suggest(self.suggestions, asked), GENERATION: of}
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensors[name]) for name in tensors if name in wanted])
