"""Trident in other people's frameworks, a module and an extra of trident-client each.

Nothing else of the client imports them; they import everything of it.
"""
