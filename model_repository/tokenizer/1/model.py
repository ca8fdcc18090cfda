"""Serves ``trident.tokenization``: texts of a request -> padded token ids."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.errors import DataError
from trident.generation import Identity
from trident.golden import GOLDEN_REQUEST
from trident.requests import read_sides, read_texts
from trident.tensors import ATTENTION_MASK, GENERATION, INPUT_IDS, SIDE, TEXT
from trident.text import TextContract
from trident.tokenization import TextTokenizer, pad
from trident.watching import QueryWatch


class TritonPythonModel:
    """One instance of the tokenizer."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads(args["model_config"])["parameters"]
        self.tokenizer = TextTokenizer.load(folder, TextContract.load(folder))
        identity = Identity.load(folder)
        self.query_length = identity.query_tokens if parameters["pads_queries"]["string_value"] == "true" else 0
        self.generation = identity.id.encode()
        self.watch = QueryWatch(identity, pb_utils.MetricFamily)

    def finalize(self):
        self.watch.close()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        values = pb_utils.get_input_tensor_by_name(request, TEXT).as_numpy()  # (B, 1)
        side = pb_utils.get_input_tensor_by_name(request, SIDE)
        try:
            sides = read_sides(None if side is None else side.as_numpy(), len(values))
            texts = read_texts(values, name=sides[0])
            rows = self.token_ids(texts, sides)
        except DataError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        # A request with a longer row keeps its own length: it is answered, in a batch of its own.
        fits = set(sides) == {"query"} and max(map(len, rows)) <= self.query_length
        batch = pad(rows, pad_id=self.tokenizer.pad_id, length=self.query_length if fits else None)
        tensors = {INPUT_IDS: batch.input_ids, ATTENTION_MASK: batch.attention_mask}
        if GENERATION in request.requested_output_names():  # the ensemble is embed, which nobody types queries for
            tensors[GENERATION] = np.full((len(texts), 1), self.generation, dtype=np.object_)
        elif request.request_id() != GOLDEN_REQUEST:
            self.watch.asked(texts)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in tensors.items()])

    def token_ids(self, texts, sides):
        if len(set(sides)) == 1:
            return self.tokenizer.token_ids(texts, sides[0])
        return [self.tokenizer.token_ids([text], side)[0] for text, side in zip(texts, sides, strict=True)]
