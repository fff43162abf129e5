"""Three ways of searching, the same wall-clock and slots: which is where, when?

python -m benchmarks.race --help
"""
