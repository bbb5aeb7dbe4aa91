"""Small training problems other than those of development, against whole grids of SGD and AdamW."""
