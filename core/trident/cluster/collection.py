"""The collection of one generation: what is asked of it, and what is written, always by its own name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qdrant_client import models

from trident.attributes.schema import Schema
from trident.cluster.connection import Connection
from trident.cluster.filters import Translated, both
from trident.cluster.points import GONE, NUMBER, ROW, STATE, STATE_ID, keys_of, state_point, there, up_to
from trident.config import from_table
from trident.errors import ConfigError, StoreError

INDEX_TYPES = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "list": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.FLOAT,
    "boolean": models.PayloadSchemaType.BOOL,
}
FORMAT = 1
REQUEST_BYTES = 24_000_000  # of an upsert; Qdrant takes 32 MiB unless it is told otherwise
NUMBER_BYTES, PRODUCT_BYTES = 24, 70_000  # of a number of a vector as text, and of what else a product may have
CHANGES = 1000  # points that are fetched at once


@dataclass(frozen=True, kw_only=True)
class StoredState:
    """How far a collection is; a point in it says so.

    Attributes:
        generation: Whose products they are.
        loaded: Products of the generation that are there, from the first on.
        complete: Whether all of them are, held against the generation.
        number: Operations of the log up to which are in it.
        log: The log's id; empty where there is none.
        epoch: Of the log.
        branch: Of the log.
    """

    generation: str
    loaded: int = 0
    complete: bool = False
    number: int = 0
    log: str = ""
    epoch: int = 0
    branch: str = ""
    format: int = FORMAT


class Collection:
    """A collection of products.

    Args:
        connection: To the engine.
        name: Of the collection.
        schema: Of the products' attributes.
        dimension: D of the vectors.
    """

    def __init__(self, connection: Connection, name: str, schema: Schema, dimension: int) -> None:
        """Ask nothing yet."""
        self.connection, self.name, self.schema, self.dimension = connection, name, schema, dimension
        self.keys = keys_of(schema)
        store = connection.store
        several = store.replicas > 1
        self._read = models.ReadConsistencyType.MAJORITY if several else None
        self._order = models.WriteOrdering.STRONG if several else None

    def create(self) -> None:
        """Make the collection, and what its filters need before the first product comes; where it is there, that alone.

        A filter over a field without an index of its own finds fewer neighbours the fewer pass, and says nothing.
        """
        store = self.connection.store
        if not self.connection.has(self.name):
            codes = models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            )
            self._ask(
                "its making",
                lambda client: client.create_collection(
                    self.name,
                    vectors_config=models.VectorParams(
                        size=self.dimension,
                        distance=models.Distance.DOT,  # of unit vectors: the cosine, and vectors come back as they were
                        on_disk=store.in_8_bits,
                    ),
                    hnsw_config=models.HnswConfigDiff(m=store.m, ef_construct=2 * store.ef),
                    quantization_config=codes if store.in_8_bits else None,
                    shard_number=store.shards,
                    replication_factor=store.replicas,
                    write_consistency_factor=store.replicas // 2 + 1,
                ),
            )
        wanted = {self.keys[each.name]: INDEX_TYPES[each.type] for each in self.schema.fields if each.type != "display"}
        wanted |= {GONE: models.PayloadSchemaType.BOOL, NUMBER: models.PayloadSchemaType.INTEGER}
        for key, kind in (wanted | {ROW: models.PayloadSchemaType.INTEGER}).items():
            self._ask(
                f"the index of {key}",
                lambda client, key=key, kind=kind: client.create_payload_index(
                    self.name, field_name=key, field_schema=kind, wait=True
                ),
            )

    def state(self) -> StoredState | None:
        """Return how far the collection is; None: there is none, or nothing was begun.

        Raises:
            StoreError: If it says so in a form that is not known.
        """
        return self.stated() if self.connection.has(self.name) else None

    def stated(self) -> StoredState | None:
        """Return how far a collection that must be there is; None: nothing was begun.

        Raises:
            StoreError: If there is none, or it says so in a form that is not known.
        """
        found = self.retrieve([STATE_ID])
        if not found or STATE not in (found[0].payload or {}):
            return None
        try:
            state = from_table(StoredState, (found[0].payload or {})[STATE], where=f"the state of {self.name}")
        except ConfigError as error:
            raise StoreError(f"{error}: remove the collection, and load the generation again") from error
        if state.format != FORMAT:
            raise StoreError(f"{self.name} must be of format {FORMAT}, got {state.format}: load the generation again")
        return state

    def write(self, points: Sequence[models.PointStruct], number: int) -> None:
        """Write points, and return when searches see them; what a later operation touched stays as it is.

        Args:
            points: The last state of each product among the operations up to the number.
            number: Of the last of these operations.
        """
        most = max(1, REQUEST_BYTES // (NUMBER_BYTES * self.dimension + PRODUCT_BYTES))
        for start in range(0, len(points), most):
            part = list(points[start : start + most])
            self._ask(
                "writing",
                lambda client, part=part: client.upsert(
                    self.name, points=part, wait=True, ordering=self._order, update_filter=up_to(number)
                ),
            )

    def write_state(self, state: StoredState) -> None:
        """Say how far the collection is; a later number stays."""
        self.write([state_point(asdict(state), state.number, self.dimension)], state.number)

    def count(self, which: Translated = True) -> int:
        """Return how many products pass a filter, counted one by one."""
        wanted = self.filter(which)
        if wanted is None:
            return 0
        found = self._ask("a count", lambda client: client.count(self.name, count_filter=wanted, exact=True))
        return int(found.count)

    def query(self, requests: Sequence[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        """Return the points of each request."""
        answers = self._ask(
            "a search",
            lambda client: client.query_batch_points(self.name, requests=list(requests), consistency=self._read),
        )
        if len(answers) != len(requests):
            raise StoreError(f"{self.name}: {len(requests)} searches must be answered, got {len(answers)} answers")
        return [answer.points for answer in answers]

    def retrieve(self, ids: Sequence[str]) -> list[models.Record]:
        """Return points by their ids, with vectors; what is not there is left out."""
        found: list[models.Record] = self._ask(
            "products",
            lambda client: client.retrieve(
                self.name, ids=list(ids), with_payload=True, with_vectors=True, consistency=self._read
            ),
        )
        return found

    def changes(self, after: int) -> Iterator[list[dict[str, Any]]]:
        """Yield what is known of points that an operation behind a number touched, deleted ones too, by their numbers.

        Each product comes with its last state. One that is touched meanwhile may come a second time.
        """
        while True:
            behind = models.FieldCondition(key=NUMBER, range=models.Range(gt=after))
            wanted = models.Filter(must=[behind], must_not=[models.HasIdCondition(has_id=[STATE_ID])])
            found, _ = self._ask(
                "changes",
                lambda client, wanted=wanted: client.scroll(
                    self.name,
                    scroll_filter=wanted,
                    limit=CHANGES,
                    order_by=models.OrderBy(key=NUMBER, direction=models.Direction.ASC),
                    with_payload=True,
                    with_vectors=False,
                    consistency=self._read,
                ),
            )
            if found:
                yield [point.payload or {} for point in found]
            if len(found) < CHANGES:
                return
            after = int((found[-1].payload or {})[NUMBER])

    def facet(self, key: str, which: Translated, most: int) -> list[tuple[Any, int]]:
        """Return the values of a key among what passes, and how many have each; counted one by one."""
        wanted = self.filter(which)
        if wanted is None:
            return []
        found = self._ask(
            "a facet",
            lambda client: client.facet(self.name, key=key, facet_filter=wanted, limit=most, exact=True),
        )
        return [(hit.value, hit.count) for hit in found.hits]

    def filter(self, which: Translated) -> models.Filter | None:
        """Return the filter of products that pass; None: nothing does."""
        found = both(there(), which)
        return None if isinstance(found, bool) else found

    def is_settled(self) -> bool:
        """Return whether the engine has built what it searches by."""
        found = self._ask("its status", lambda client: client.get_collection(self.name))
        return bool(found.status == models.CollectionStatus.GREEN)

    def _ask(self, what: str, call: Any) -> Any:
        return self.connection.ask(f"{what} of {self.name}", call)
