"""What disturbances a trained network bears: accuracy over their levels."""
