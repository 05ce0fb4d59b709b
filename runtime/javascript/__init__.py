"""What the runtime has to do with JavaScript: uploads as bundles, what a top level leaves behind as deltas.

A worker in JavaScript is the shared engine's module and the difference that its own top level makes to that
module's memory. `bundle` has the uploaded modules as bytes, `delta` the difference as bytes, both pure; `loading`
makes the one of the other, in the compile child. Everything else in here knows images and deltas alone.
"""
