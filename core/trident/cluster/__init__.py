"""An engine past one machine that holds a generation's products: a collection each, filters, loading, what it keeps.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking.
"""
