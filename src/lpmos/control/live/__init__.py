"""The live WebSocket: one log of changes by revision, told to all that listen."""
