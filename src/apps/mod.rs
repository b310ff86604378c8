//! One file per feature: a state machine over the legs of a call.
