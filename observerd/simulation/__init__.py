"""A world of virtual time around the real core: schedules, queue, metrics, alarms, instances, and faults.

Nothing in here does IO but command.py. One seed is one history: every draw comes from random.Random(seed)
and from what is derived of it by name, so that a fault taken away moves no other.
"""
