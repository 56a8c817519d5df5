"""A network as C without dependencies, in float32 and in integers, checked beside the engine."""
