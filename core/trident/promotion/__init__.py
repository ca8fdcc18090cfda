"""Changes the generation that serves: promotion, rollback, retention.

Rooms that it may import: data, attributes, encoder, index, generation, search, watch, quality, probe, server.
"""
