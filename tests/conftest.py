"""Hypothesis draws the same examples on every machine and run, and no test depends on how long one takes."""

from hypothesis import settings

settings.register_profile("pfopt", derandomize=True, deadline=None, database=None, max_examples=40)
settings.load_profile("pfopt")
