//! Names the shared library for the dynamic linker.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The only place where the soname is set; it is raised when the ABI breaks, not with each version.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsandboxset.so.0");
    // Our threads and thread-locals do not survive an unload, so dlclose must not unload.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
