//! The composition root: wires every adapter to the actor system, top to bottom.
