"""Many runs of one config: every combination of settings and seeds, one after the other or several at once."""
