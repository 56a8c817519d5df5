"""A trained network in discrete time steps: membranes integrated from spikes alone, beside the closed form."""
