"""Rules as text: a filter over facts, in the syntax of Cloudflare's rules language.

Comes in: the text of an expression and the `Schema` of the facts it may ask. Goes out: a `Filter`, which says
true or false of a mapping of facts, or an `ExpressionError` with line and column. May import: nothing of ours.

`filters` is the way in. Text is parsed once (`grammar`, into the nodes of `syntax`), checked against the schema
(`checks`), and turned into closures (`closures`); judging does no I/O, never raises, and is bounded by the
sizes of the expression and of the facts.
"""
