"""Looks at a stack from outside and tends to it: what happened, why, what is wrong, what lies dead."""
