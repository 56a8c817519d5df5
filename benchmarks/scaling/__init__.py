"""What the exchange of gradients costs a training step on the ranks at hand: ttfs bench --scaling."""
