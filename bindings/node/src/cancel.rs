//! What an `AbortSignal` of JavaScript cancels with.

use napi_derive::napi;

/// Cancels the calls that it was given to.
#[napi]
pub struct CancelToken {
    pub(crate) core: sandboxset::CancelToken,
}

#[napi]
impl CancelToken {
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default, reason = "only JavaScript makes them")]
    pub fn new() -> Self {
        CancelToken { core: sandboxset::CancelToken::new() }
    }

    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.core.cancel();
    }
}
