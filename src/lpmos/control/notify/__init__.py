"""What takes notifications out of the control plane: signed HTTP, mail and chat services."""
