"""What globals and bindings of Workers have, member by member: which of it the engine has, as docs/javascript-globals.md tells."""
