"""The faults that were seen in use, one kind a row, by the smallest input that showed each."""
