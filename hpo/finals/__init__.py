"""The finals: the best configurations once more on fresh seeds, and the one opening of the test
set that reads them all."""
