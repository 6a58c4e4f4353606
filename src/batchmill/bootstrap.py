"""Names the concrete engine, storage and database, and wires everything together."""
