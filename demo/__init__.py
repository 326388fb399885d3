"""`make demo`: the whole pipeline on one machine, with an emulated AWS around the real daemon.

emulator.py  the emulated AWS, a process of its own: moto, and in front of it what moto lacks
cloud.py     starts and ends that process; everything that is called in it is told to whoever listens
stack.py     deploys cloudformation/observerd.yaml, fires its schedule, runs its Lambda source
fleet.py     the machines: starts a daemon where an instance appears, ends it where one is taken away
story.py     what happened, as lines for a person and as facts (pure)
show.py      tells the story as it happens, then the evidence and the checks
"""
