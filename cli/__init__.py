"""What a person types: `tenantry serve` and the client commands.

Comes in: arguments, the environment, files named in them. Goes out: text on stdout, notes and errors on
stderr, an exit code (cli.errors). May import everything; only `cli.serve` joins the host's packages, and
a client command speaks to a running host through its API alone (cli.client).
"""
