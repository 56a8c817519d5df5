"""A network of spiking layers: its arrays, forward, event-driven backward, loss, optimisers."""
