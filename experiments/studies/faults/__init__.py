"""A fault campaign: what goes wrong in training is made to go wrong, thousands of times; what is lost is counted."""
