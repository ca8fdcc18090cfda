"""TensorRT: plans, their profiles, and the cache of plans.

May import: config.
"""
