//! Errors of the core as those of the facade, which makes them: its classes are JavaScript.

use napi::Env;
use napi::bindgen_prelude::{FunctionRef, Unknown};
use napi_derive::napi;
use sandboxset::{Error, ErrorCode};

use crate::bridge::Bridge;

/// The function of the facade that makes an error.
pub(crate) type MakeError = FunctionRef<ErrorParts, Unknown<'static>>;

/// What an error says.
#[napi(object)]
pub struct ErrorParts {
    pub number: i32,
    pub name: String,
    pub message: String,
    pub phase: String,
    pub retryable: bool,
    pub sandbox_id: Option<f64>,
    pub cause: Option<String>,
    pub field: Option<String>,
}

/// One line of the table of errors.
#[napi(object)]
pub struct ErrorLine {
    pub number: i32,
    pub name: String,
    pub retryable: bool,
}

/// Every code of this build, for the test that compares the tables.
#[napi(catch_unwind)]
pub fn error_table() -> Vec<ErrorLine> {
    let line = |code: &ErrorCode| ErrorLine {
        number: *code as i32,
        name: code.name().into(),
        retryable: code.retryable(),
    };
    ErrorCode::ALL.iter().map(line).collect()
}

/// The error as an object of the facade.
pub(crate) fn error_value<'env>(env: &'env Env, error: &Error) -> napi::Result<Unknown<'env>> {
    let cause = error.cause();
    let parts = ErrorParts {
        number: error.code() as i32,
        name: error.code().name().into(),
        message: error.message().into(),
        phase: error.phase().name().into(),
        retryable: error.retryable(),
        sandbox_id: error.sandbox_id().map(|id| id.get() as f64),
        cause: if cause.is_empty() { None } else { Some(cause) },
        field: error.field().map(Into::into),
    };
    let bridge = Bridge::of(env)?;
    bridge.make_error.borrow_back(env)?.call(parts)
}

/// The error, to be thrown.
pub(crate) fn raise(env: &Env, error: &Error) -> napi::Error {
    match error_value(env, error) {
        Ok(value) => napi::Error::from(value),
        Err(failure) => failure,
    }
}
