"""How good rankings and generations are: metrics, intervals, comparisons, the gate.

Rooms that it may import: data, attributes, encoder, index, generation, cluster, ranking, journal, live, search.
"""
