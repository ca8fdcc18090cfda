"""Words to rows: the analyzer, the lexical index, its codes and files, spelling.

Rooms that it may import: data, attributes, encoder.
"""
