//! `sandboxset_report`.

use std::ffi::{CString, c_char};

use sandboxset::{Error, IsolationReport, Layer, LayerStatus};

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::options::Plain;
use crate::text::to_c_string;

/// A layer of isolation is fully in force.
pub const SANDBOXSET_LAYER_ACTIVE: u32 = 0;
/// A weaker means stands in for a layer of isolation.
pub const SANDBOXSET_LAYER_DEGRADED: u32 = 1;
/// A layer of isolation is not in force.
pub const SANDBOXSET_LAYER_MISSING: u32 = 2;

/// What isolation was reached, layer by layer. Immutable.
pub struct sandboxset_report {
    _opaque: (),
}

/// The texts of one layer as C wants them.
pub(crate) struct LayerTexts {
    name: CString,
    detail: CString,
    status: u32,
}

handle!(sandboxset_report, Vec<LayerTexts>, b"ss_repor");

/// One layer of isolation. Set struct_size before the call that fills it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_layer {
    /// sizeof(sandboxset_layer).
    pub struct_size: usize,
    /// Its short name, for example "seccomp" or "cgroup.memory". Borrowed from the report.
    pub name: *const c_char,
    /// By what means it was reached, or why not. Borrowed from the report.
    pub detail: *const c_char,
    /// SANDBOXSET_LAYER_*.
    pub status: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), size first, integers and raw pointers, padding spelled out.
unsafe impl Plain for sandboxset_layer {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        sandboxset_layer {
            struct_size: size_of::<Self>(),
            name: std::ptr::null(),
            detail: std::ptr::null(),
            status: SANDBOXSET_LAYER_MISSING,
            reserved: 0,
        }
    }
}

/// Answers how many layers there are; a mock has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_report_count(
    report: *const sandboxset_report,
    out_count: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let report = caller.borrow(report, "report")?;
        caller.out(out_count, "out_count")?.write(report.len());
        Ok(())
    })
}

/// Fills `layer` with the layer at `index`, counted from 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_report_get_layer(
    report: *const sandboxset_report,
    index: usize,
    layer: *mut sandboxset_layer,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let report = caller.borrow(report, "report")?;
        let Some(texts) = report.get(index) else {
            return Err(Error::invalid("index", format_args!("{index} is not below {}", report.len())));
        };
        let value = sandboxset_layer {
            name: texts.name.as_ptr(),
            detail: texts.detail.as_ptr(),
            status: texts.status,
            ..Plain::defaults()
        };
        caller.fill(layer, value, "layer")
    })
}

/// Frees the report and all that was borrowed from it. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_report_free(report: *mut sandboxset_report) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(report, |_| {}) };
}

/// Makes the object that C gets.
pub(crate) fn into_raw(report: &IsolationReport) -> *mut sandboxset_report {
    let convert = |layer: &Layer| LayerTexts {
        name: to_c_string(layer.name.as_str()),
        detail: to_c_string(layer.detail.as_str()),
        status: match layer.status {
            LayerStatus::Active => SANDBOXSET_LAYER_ACTIVE,
            LayerStatus::Degraded => SANDBOXSET_LAYER_DEGRADED,
            LayerStatus::Missing => SANDBOXSET_LAYER_MISSING,
        },
    };
    handle::into_raw(report.layers.iter().map(convert).collect())
}
