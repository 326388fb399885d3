"""What observerd is measured against: the least that can do the same. Each is run as a program."""
