//! Compares the public interface of each library with its snapshot, `crates/*/public-api.txt`; see `.ci/public-api`.
//!
//! The arguments are the folder of rustdoc's JSON files and, to write the snapshots, `--update`.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let json = arguments.next().ok_or("name the folder of the JSON files")?;
    let is_update = arguments.next().is_some_and(|argument| argument == "--update");
    let mut differs = false;
    let mut crates: Vec<_> =
        fs::read_dir("crates")?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    crates.sort();
    for folder in crates {
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        let package = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let library = package.ok_or("a package without a name")?.replace('-', "_");
        let json = Path::new(&json).join(format!("{library}.json"));
        // The command has a library for its tests alone, which is not documented.
        if !json.exists() {
            continue;
        }
        let builder = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true);
        let interface = builder.omit_auto_trait_impls(true).omit_auto_derived_impls(true).build()?;
        let current: Vec<String> = interface.items().map(ToString::to_string).collect();
        let snapshot = folder.join("public-api.txt");
        if is_update {
            fs::write(snapshot, current.join("\n") + "\n")?;
            continue;
        }
        let recorded = fs::read_to_string(&snapshot).unwrap_or_default();
        differs |= print_difference(&snapshot, &recorded, &current);
    }
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints the lines that were removed and added, and returns whether there are any.
fn print_difference(snapshot: &Path, recorded: &str, current: &[String]) -> bool {
    let before: BTreeSet<&str> = recorded.lines().collect();
    let after: BTreeSet<&str> = current.iter().map(String::as_str).collect();
    if before == after {
        return false;
    }
    println!("{} differs:", snapshot.display());
    before.difference(&after).for_each(|line| println!("- {line}"));
    after.difference(&before).for_each(|line| println!("+ {line}"));
    true
}
