"""What a run keeps on disk: its directory, checkpoints, metrics, and how far it has come."""
