//! The makers of sandboxes.

#[cfg(feature = "linux")]
pub mod linux;
#[cfg(feature = "mock")]
pub mod mock;
