"""What bindings hold: arguments checked by name, semantics of KV and queues, delivery across kill -9."""
