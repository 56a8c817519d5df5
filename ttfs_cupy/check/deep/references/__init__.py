"""What the deep check compares with: layers and whole networks in float64."""
