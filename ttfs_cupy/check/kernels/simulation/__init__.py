"""Checks of simulation.cu: where spikes arrive, and what neurons make of them."""
