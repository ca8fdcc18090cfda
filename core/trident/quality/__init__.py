"""How good rankings and generations are: metrics, intervals, comparisons, the gate.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, journal, live, rules, search.
"""
