"""The stages of an export, one a file, in the order in which the pipeline calls them.

Rooms that it may import: engine, graphs, merge, catalogue, judge.
"""
