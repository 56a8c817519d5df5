"""What there is to report: what a run's files say, and what its network does on the test set."""
