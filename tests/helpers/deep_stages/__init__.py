"""Stages of a deep check that go wrong, each in its own way."""
