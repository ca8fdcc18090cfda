"""What a run leaves behind: its folder, results, report, model card, comparisons.

May import: data to loop and the ground.
"""
