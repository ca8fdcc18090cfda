"""The command line: one module a subcommand, which imports what it needs when it runs.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, cluster, ranking, journal, live, rules, search, watch, quality, probe, server, promotion, compaction, bench.
"""  # noqa: E501 - the list is read by a test
