//! `hv-init`: the first process of a guest of `hv`.

#[cfg(target_os = "linux")]
fn main() {
    hv_init::init();
}

/// Guests are Linux. Elsewhere there is only this, so that the workspace builds.
#[cfg(not(target_os = "linux"))]
fn main() {}
