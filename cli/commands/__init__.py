"""One file a command. Each is imported only when it is run or its own help is asked for.

Comes in: what click parsed. Goes out: text on stdout, CliError for whatever ends the command early.
May import `cli.*`, `model`, and lazily what a local command needs (`outbound.policy*`, `control`).
"""
