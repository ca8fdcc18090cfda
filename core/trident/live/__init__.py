"""The live catalogue: operations and what they make of it, snapshots that are searched, followers, the writer.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal.
"""
