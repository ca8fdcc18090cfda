"""What is found and what is told of it: reading a request's options, retrieving by vectors and words, pages.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules.
"""
