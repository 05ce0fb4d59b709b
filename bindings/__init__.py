"""What the host lends a worker: KV, queues, secrets, service bindings, dispatch namespaces, and the way out.

Comes in: arguments exactly as a guest sent them, and capabilities (`model.capabilities`) to serve them with.
Goes out: MessagePack-able values, or OperationError. `operations` is the contract that both ABIs are front
doors to. May import: `model`, `storage`. It never sees the runtime or the network: a worker to run, or a
request to send, goes through a callable that was handed in.
"""
