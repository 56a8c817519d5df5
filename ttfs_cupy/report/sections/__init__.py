"""The parts of a page: what each shows of a run."""
