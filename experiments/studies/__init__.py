"""One question a file: ``python -m experiments studies`` lists them, ``study NAME`` answers one."""
