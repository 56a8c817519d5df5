"""What an image costs: operations counted spike by spike, and their energy by published figures (docs/energy.md)."""
