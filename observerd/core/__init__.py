"""Decides. Nothing in here does IO, reads a clock, starts a thread, logs, or imports a third party.

What happened comes in as an event (past tense), what is to be done goes out as an order (imperative),
and the time comes in as an argument. That is what makes a whole night of queue traffic a list of
values in a test.
"""
