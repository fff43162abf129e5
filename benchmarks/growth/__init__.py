"""How time and memory grow: with the model, the corpus, the trials and the slots."""
