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
        labels: (N,) float32, 1 relevant, or what a made query was made of; 0 not, -1 nobody judged (a mined negative).
        grades: (N,) float32, a teacher's logits where there is one, else shares of the largest grade.
        positives: (Q, P) bool, every pair of the batch's texts that the training data calls relevant.
    """

    queries: Tensor
    products: Tensor
    pair_query: Tensor
    pair_product: Tensor
    labels: Tensor
    grades: Tensor
    positives: Tensor

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
