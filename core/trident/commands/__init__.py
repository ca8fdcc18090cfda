"""The command line: one module a subcommand, which imports what it needs when it runs.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality, comparison, probe, processes, server, promotion, compaction, bench.
"""  # noqa: E501 - the list is read by a test
