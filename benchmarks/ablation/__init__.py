"""What each of the core's tricks gives."""
