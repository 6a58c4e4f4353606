"""A worker process: signals, heartbeat, drain."""
