"""The stages of an export, one a file, in the order in which the pipeline calls them.

May import: judge to engine and the ground.
"""
