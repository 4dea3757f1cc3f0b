//! Sets `real_opencode` if there is a real opencode, and `real_opencode2` if there is a real opencode 2. Without it,
//! tests that need one are reported as ignored.

#[path = "src/find_opencode.rs"]
mod find_opencode;

use find_opencode::{CHOSEN, CHOSEN2, REQUIRED, find};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(real_opencode, real_opencode2)");
    // Not for `PATH`: it changes too often to rebuild the tests for it.
    for variable in [CHOSEN, CHOSEN2, REQUIRED, "HOME", "XDG_CACHE_HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=src/find_opencode.rs");
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // A test that needs a missing opencode then runs and fails.
    let is_required = variable(REQUIRED).is_some_and(|value| value == "1");
    if is_required || find(variable).is_ok() {
        println!("cargo::rustc-cfg=real_opencode");
    }
    if variable(CHOSEN2).is_some() && variable(REQUIRED).is_none_or(|value| value != "0") {
        println!("cargo::rustc-cfg=real_opencode2");
    }
}
