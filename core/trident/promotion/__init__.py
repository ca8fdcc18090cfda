"""Changes the generation that serves: promotion, rollback, retention.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, journal, live, search, watch,
quality, probe, server.
"""
