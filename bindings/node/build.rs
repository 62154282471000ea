//! Build-script lines that napi asks of every addon.

fn main() {
    napi_build::setup();
}
