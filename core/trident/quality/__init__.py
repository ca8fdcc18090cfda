"""How good rankings and generations are: metrics, intervals, comparisons, the gate.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search.
"""  # noqa: E501 - the list is read by a test
