"""From the specification of a run to its record: ids, the store, suites, what they plan and how it is run."""
