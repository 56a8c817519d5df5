"""What there is to work with: cores, memory of a container, processes that are forked."""
