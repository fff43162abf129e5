"""Behavioural models of a radio power amplifier: its output from its input, scored by NMSE."""
