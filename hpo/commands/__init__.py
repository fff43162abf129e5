"""The commands, by what they are for. A room has their grammar and what each of them does."""
