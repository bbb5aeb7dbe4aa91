"""The rule is tested here once, in numpy, a file for a concept; back ends are tested for moving as they are told."""
