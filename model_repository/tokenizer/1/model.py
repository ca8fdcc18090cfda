"""Serves ``trident.encoder.tokenization``: texts of a request -> padded token ids."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer, pad
from trident.errors import TridentError
from trident.generation.generation import Identity
from trident.generation.golden import GOLDEN_REQUEST
from trident.retrieval.requests import read_asked
from trident.retrieval.tensors import ATTENTION_MASK, GENERATION, INPUT_IDS, SIDE, TEXT
from trident.search.adapters import id_of, tensor
from trident.search.model_parameters import start_model
from trident.watch.failures import FailureWatch
from trident.watch.watching import QueryWatch


class TritonPythonModel:
    """One instance of the tokenizer."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = start_model(args)
        self.tokenizer = TextTokenizer.load(folder, TextContract.load(folder))
        identity = Identity.load(folder)
        self.query_length = identity.query_tokens if parameters["pads_queries"] == "true" else 0
        self.generation = identity.id.encode()
        self.watch = QueryWatch(identity, pb_utils.MetricFamily)
        self.failure_watch = FailureWatch(identity, pb_utils)

    def finalize(self):
        self.watch.close()
        self.failure_watch.close()

    def execute(self, requests):
        asked = [self.read(request) for request in requests]  # [(text, side), …], or a refusal
        rows = iter(self.tokenizer.token_ids_each([pair for each in asked if isinstance(each, list) for pair in each]))
        return [
            self.response(request, each, [next(rows) for _ in each]) if isinstance(each, list) else each
            for request, each in zip(requests, asked, strict=True)
        ]

    def read(self, request):
        is_live = True
        try:
            is_live = id_of(request) != GOLDEN_REQUEST
            return read_asked(tensor(request, pb_utils, TEXT), tensor(request, pb_utils, SIDE))
        except TridentError as error:
            return self.failure_watch.refusal(error, is_live=is_live)

    def response(self, request, asked, rows):
        fits = all(side == "query" for _, side in asked) and max(map(len, rows)) <= self.query_length
        batch = pad(rows, pad_id=self.tokenizer.pad_id, length=self.query_length if fits else None)
        tensors = {INPUT_IDS: batch.input_ids, ATTENTION_MASK: batch.attention_mask}
        if GENERATION in request.requested_output_names():  # the ensemble is embed, which nobody types queries for
            tensors[GENERATION] = np.full((len(rows), 1), self.generation, dtype=np.object_)
        elif request.request_id() != GOLDEN_REQUEST:
            self.watch.asked([text for text, _ in asked], request.request_id())
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in tensors.items()])
