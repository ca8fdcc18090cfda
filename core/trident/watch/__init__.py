"""What the served models count, check and log while they answer.

May import: data to search.
"""
