"""Dialect "pocket3d": so far its WebSocket, which speaks for any dialect's job."""
