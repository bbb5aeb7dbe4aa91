"""The search: a pure controller that turns the scalars of a run into the next instruction.

Read in this order: ``certificate`` (the test), ``bisection`` (Algorithm 1), ``plan`` (how the budget is spent),
``tracking`` (what happens at every gradient), ``schedule``, ``state`` (the records). No module imports anything
but numpy and the standard library; the array namespace is an argument.
"""
