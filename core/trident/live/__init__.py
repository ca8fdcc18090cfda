"""The live catalogue: its log, vectors of what came since the export, snapshots that are searched, the writer.

Rooms that it may import: data, encoder, index, generation.
"""
