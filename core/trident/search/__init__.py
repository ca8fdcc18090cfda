"""What a served model does with requests: reading, admitting, embedding, searching, answering.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval.
"""  # noqa: E501 - the list is read by a test
