"""The fault bench: kills, hangs, crashes and floods a toy study, and counts what is lost.

`registry` lists the families of faults, one module each; `rig` runs the study's drivers and audits
what they leave against `journal`, the ground truth that the trials write themselves.
"""
