"""What every other package of the experiments may use."""
