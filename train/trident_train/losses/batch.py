"""What a loss sees of a batch: the embeddings of its distinct texts, and the pairs among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class EmbeddedBatch:
    """N pairs over Q distinct queries and P distinct products; each text is embedded once.

    Attributes:
        queries: (Q, D) unit length.
        products: (P, D) unit length.
        pair_query: (N,) int64, row of each pair's query.
        pair_product: (N,) int64, row of each pair's product.
        labels: (N,) float32, 1 relevant, 0 not, -1 nobody judged (a mined negative).
        grades: (N,) float32 relevance grade, from 0 to 1 of the source's highest.
        positives: (Q, P) bool, every pair of the batch's texts that the training data calls relevant.
        teacher: (Q, P) float32 cosines of the pretrained model; None unless the loss distils.
    """

    queries: Tensor
    products: Tensor
    pair_query: Tensor
    pair_product: Tensor
    labels: Tensor
    grades: Tensor
    positives: Tensor
    teacher: Tensor | None = None

    def judged(self) -> EmbeddedBatch:
        """Return the batch with its judged pairs only."""
        kept = self.labels >= 0  # (N,)
        return replace(
            self,
            pair_query=self.pair_query[kept],
            pair_product=self.pair_product[kept],
            labels=self.labels[kept],
            grades=self.grades[kept],
        )

    def similarities(self) -> Tensor:
        """Return the cosine of each pair, (N,)."""
        return (self.queries[self.pair_query] * self.products[self.pair_product]).sum(-1)

    def relevance(self) -> Tensor:
        """Return how relevant each product is for each query, (Q, P): the grade of a judged pair, else 1 or 0."""
        relevance = self.positives.to(self.queries.dtype)
        pairs = self.judged()
        relevance[pairs.pair_query, pairs.pair_product] = pairs.grades.to(relevance.dtype)
        return relevance
