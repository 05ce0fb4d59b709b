"""The processes of one `serve`: who starts whom, what each inherits, and how they talk.

Comes in: argument lists and configuration of what is to run. Goes out: listeners, channels, and a status
of each process. May import: `model`. What a process does is not known here.
"""
