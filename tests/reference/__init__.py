"""Two independent float64 references of the model, and the comparison of the engine with them."""
