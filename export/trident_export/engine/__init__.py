"""TensorRT: plans, their profiles, and the cache of plans.

Rooms that it may import: none.
"""
