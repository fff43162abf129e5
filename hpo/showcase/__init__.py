"""What the dashboard is shown of a study while it runs."""
