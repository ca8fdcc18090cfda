"""Changes the generation that serves: promotion, rollback, retention.

May import: data to server.
"""
