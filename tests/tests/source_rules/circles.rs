//! Circles of imports between the modules of a crate, as the paths in the sources show them.

use std::collections::{BTreeMap, BTreeSet};

/// A path through modules, from the root of the crate.
type ModulePath = Vec<String>;

/// A module of a crate, which is one file.
#[derive(Default)]
struct Module {
    children: BTreeSet<String>,
    /// The names of the items that the file defines.
    items: BTreeSet<String>,
    /// The names that the file imports, with the paths that stand behind them.
    imports: BTreeMap<String, ModulePath>,
    /// The paths in the file, from the root of the crate.
    paths: Vec<ModulePath>,
}

/// The modules of one crate, by their paths.
#[derive(Default)]
pub(crate) struct Modules(BTreeMap<ModulePath, Module>);

/// Returns the path of the module that a file of `src` is, or `None` for a program or a file of tests.
fn module_path(file: &str) -> Option<ModulePath> {
    let file = file.strip_suffix(".rs")?;
    let mut path: ModulePath = file.split('/').map(ToOwned::to_owned).collect();
    if path[0] == "bin" || file == "main" || path.iter().any(|name| name == "tests" || name == "properties") {
        return None;
    }
    if file == "lib" || path.last().is_some_and(|name| name == "mod") {
        path.pop();
    }
    Some(path)
}

/// Splits code into identifiers and the punctuation of paths. Texts in quotes are dropped.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => while chars.next().is_some_and(|c| c != '"' && (c != '\\' || chars.next().is_some())) {},
            ':' if chars.next_if_eq(&':').is_some() => tokens.push("::".to_owned()),
            c if c.is_alphanumeric() || c == '_' => {
                let mut name = c.to_string();
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
                tokens.push(name);
            }
            // A quote may also be in a character.
            '\'' if chars.next_if_eq(&'"').is_some() || chars.next_if_eq(&'\\').is_some() => {
                chars.next();
            }
            c if c.is_whitespace() => {}
            c => tokens.push(c.to_string()),
        }
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads the tree of a path, such as `a::{b, c::d as e}`. Calls `found` for each path with its local name.
fn read_tree(tokens: &[String], at: &mut usize, start: &[String], found: &mut impl FnMut(ModulePath, &str)) {
    let mut path = start.to_vec();
    loop {
        match tokens.get(*at).map(String::as_str) {
            Some("{") => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token != "}") {
                    read_tree(tokens, at, &path, found);
                    *at += usize::from(tokens.get(*at).is_some_and(|token| token == ","));
                }
                *at += 1;
                return;
            }
            Some("*") => {
                *at += 1;
                path.push("*".to_owned());
                break;
            }
            Some(name) if is_name(name) => {
                if name != "self" || path.is_empty() {
                    path.push(name.to_owned());
                }
                *at += 1;
            }
            // No part of a path: skipped.
            _ => {
                *at += 1;
                return;
            }
        }
        if tokens.get(*at).is_none_or(|token| token != "::") {
            break;
        }
        *at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if tokens.get(*at).is_some_and(|token| token == "as") {
        name = tokens.get(*at + 1).cloned().unwrap_or_default();
        *at += 2;
    }
    found(path, &name);
}

impl Modules {
    /// Adds a file of `src` with its code, which contains no comments and no unit tests.
    pub(crate) fn add(&mut self, file: &str, code: &str) {
        let Some(own) = module_path(file) else { return };
        let tokens = tokens(code);
        let mut module = Module::default();
        for pair in tokens.windows(3) {
            if pair[0] == "mod" && is_name(&pair[1]) && pair[2] == ";" {
                module.children.insert(pair[1].clone());
            }
            if ["fn", "struct", "enum", "trait", "type", "const", "static"].contains(&pair[0].as_str()) {
                module.items.insert(pair[1].clone());
            }
        }
        let mut at = 0;
        while at < tokens.len() {
            let is_use = tokens[at] == "use";
            // A module that only re-exports a name does not depend on it.
            let is_reexport = is_use && at > 0 && ["pub", ")"].contains(&tokens[at - 1].as_str());
            at += usize::from(is_use);
            let starts = is_name(&tokens[at.min(tokens.len() - 1)]) && (at == 0 || tokens[at - 1] != "::");
            let is_path = tokens.get(at + 1).is_some_and(|next| next == "::");
            if !starts || !(is_use || is_path) {
                at += usize::from(!is_use);
                continue;
            }
            read_tree(&tokens, &mut at, &[], &mut |path, name| {
                if is_use {
                    module.imports.insert(name.to_owned(), path.clone());
                }
                if !is_reexport {
                    module.paths.push(path);
                }
            });
        }
        self.0.insert(own, module);
    }

    /// Returns the module that defines what a path in a module names. `None` if that is another crate's or a module.
    fn definer(&self, from: &[String], path: &[String], depth: usize) -> Option<ModulePath> {
        let mut at = from.to_vec();
        let mut is_first = true;
        for (index, name) in path.iter().enumerate() {
            match name.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => {
                    let module = self.0.get(&at)?;
                    if index + 1 == path.len() && module.items.contains(name) {
                        return Some(at);
                    }
                    if module.children.contains(name) {
                        at.push(name.clone());
                    } else if let Some(import) = module.imports.get(name).filter(|import| depth < 9 && *import != path)
                    {
                        let whole: Vec<_> = import.iter().chain(&path[index + 1..]).cloned().collect();
                        return self.definer(&at, &whole, depth + 1);
                    } else {
                        // A name that a file uses without an import is its own or the language's.
                        return (!is_first).then_some(at);
                    }
                }
            }
            is_first = false;
        }
        None
    }

    /// Returns the modules that each module imports, with the names.
    fn edges(&self) -> BTreeMap<&ModulePath, BTreeMap<ModulePath, BTreeSet<&str>>> {
        let mut edges = BTreeMap::new();
        for (own, module) in &self.0 {
            let targets: &mut BTreeMap<_, BTreeSet<_>> = edges.entry(own).or_default();
            for path in &module.paths {
                if let Some(target) = self.definer(own, path, 0).filter(|target| target != own) {
                    targets.entry(target).or_default().extend(path.last().map(String::as_str));
                }
            }
        }
        edges
    }

    /// Returns the circles: groups of modules that import each other, directly or through others, with their imports.
    pub(crate) fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let reached = |from: &ModulePath| {
            let mut reached = BTreeSet::new();
            let mut next: Vec<&ModulePath> = edges[from].keys().collect();
            while let Some(module) = next.pop() {
                if reached.insert(module.clone()) {
                    next.extend(edges.get(module).into_iter().flat_map(BTreeMap::keys));
                }
            }
            reached
        };
        let reached: BTreeMap<_, _> = edges.keys().map(|from| (*from, reached(from))).collect();
        let mut circles: BTreeMap<BTreeSet<&ModulePath>, String> = BTreeMap::new();
        for (from, targets) in reached.iter().filter(|(from, targets)| targets.contains(**from)) {
            let is_back = |to: &&ModulePath| reached.get(to).is_some_and(|back| back.contains(*from));
            let circle: BTreeSet<_> = targets.iter().filter(is_back).collect();
            for (to, names) in edges[*from].iter().filter(|(to, _)| circle.contains(to)) {
                let import = format!("\n    {} -> {}: {names:?}", from.join("::"), to.join("::"));
                circles.entry(circle.clone()).or_default().push_str(&import);
            }
        }
        circles.into_values().collect()
    }
}

#[test]
fn circle_of_imports_is_found() {
    let circles = |files: &[(&str, &str)]| {
        let mut modules = Modules::default();
        for (file, code) in files {
            modules.add(file, code);
        }
        modules.circles().len()
    };
    assert_eq!(
        circles(&[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B; struct A;"), ("b.rs", "struct B;")]),
        0
    );
    let through_root = [
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::{C, B as D};"),
        ("a.rs", "use crate::{D, A as _}; pub struct A;"),
        ("b.rs", "fn f() { crate::A::new() } pub struct B;"),
    ];
    assert_eq!(circles(&through_root), 1);
    let with_parent =
        [("lib.rs", "mod a;"), ("a.rs", "mod b; fn f() { b::g(F) } struct F;"), ("a/b.rs", "use super::F;")];
    assert_eq!(circles(&with_parent), 1);
    let siblings = [
        ("lib.rs", "mod a;"),
        ("a.rs", "mod b; mod c; use b::B;"),
        ("a/b.rs", "use super::c::{self, C}; fn f() { c::g() }"),
        ("a/c.rs", "struct C; const TEXT: &str = \"super::b::B\";"),
    ];
    assert_eq!(circles(&siblings), 0);
}
