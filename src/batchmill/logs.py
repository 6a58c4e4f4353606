"""Structured logs: one JSON line an event, from a closed list of event names."""
