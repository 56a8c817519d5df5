"""Convolutions of spikes: one file per algorithm. A fully connected layer is one whose kernel covers its input."""
