"""Ways to reach an operator, one file each."""
