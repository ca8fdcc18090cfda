"""How good rankings and generations are: metrics, intervals, comparisons, the gate.

May import: data to search.
"""
