"""What a served model does with requests: reading, admitting, embedding, searching, answering.

May import: data to generation.
"""
