"""Tables, statistics, pictures and pages: nothing here trains."""
