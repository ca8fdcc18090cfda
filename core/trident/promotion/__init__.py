"""Changes the generation that serves: promotion, rollback, retention.

Rooms that it may import: data, encoder, index, generation, journal, live, search, watch, quality, probe, server.
"""
