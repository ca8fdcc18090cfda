"""What a run leaves behind: its folder, results, report, model card, comparisons.

Rooms that it may import: data, losses, model, judge, loop, reranker.
"""
