"""Small training problems that no rule of the optimizer was tuned on, against whole grids of SGD and AdamW."""
