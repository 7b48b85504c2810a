"""What the API shows: pure functions from the model to the shapes of the answers."""
