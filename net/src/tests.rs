//! Two stacks on a wire.
