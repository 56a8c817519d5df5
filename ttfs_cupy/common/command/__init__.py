"""How a command begins, is typed, is interrupted and ends; what it says meanwhile."""
