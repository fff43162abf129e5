"""The processes in which trials run."""
