//! The wire types between the host process, the keeper and the inits.
