//! Sets `real_opencode` if there is a real opencode. Without it, tests that need one are reported as ignored.

#[path = "src/find_opencode.rs"]
mod find_opencode;

use find_opencode::{CHOSEN, REQUIRED, find};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(real_opencode)");
    // Not `PATH`: it changes too often to build the tests again for it.
    for variable in [CHOSEN, REQUIRED, "HOME", "XDG_CACHE_HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=src/find_opencode.rs");
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // A test that needs a missing opencode then runs and fails.
    let is_required = variable(REQUIRED).is_some_and(|value| value == "1");
    if is_required || find(variable).is_ok() {
        println!("cargo::rustc-cfg=real_opencode");
    }
}
