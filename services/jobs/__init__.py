"""The ledger: jobs, their tasks, the nodes that run them, and the events that tell how they go."""
