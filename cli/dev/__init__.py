"""`tenantry dev`: a host of its own for one worker, which is bundled and deployed again at each change of its files.

Comes in: a Plan, what the command line asked for. Goes out: lines on a Screen. `lines` and `plan` decide and are pure,
`watching` looks at files, `host` runs `tenantry serve` as a child, `setting_up` and `loop` join them.
"""
