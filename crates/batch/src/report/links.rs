//! Links from the page to files of the results.

use std::path::{Component, Path, PathBuf};

/// Returns the URL of a file relative to the directory of the page. Both are absolute.
///
/// Every byte that has a meaning in a URL is escaped, so that no path becomes a URL with a scheme.
pub(crate) fn relative_url(directory: &Path, file: &Path) -> String {
    let from = normal(directory);
    let to = normal(file);
    let mut from = from.components().peekable();
    let mut to = to.components().peekable();
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let up = from.map(|_| "..".to_owned());
    let down = to.filter_map(|component| match component {
        Component::Normal(name) => Some(escape(name.as_encoded_bytes())),
        _ => None,
    });
    let parts: Vec<_> = up.chain(down).collect();
    match parts.first().map(String::as_str) {
        Some("..") => parts.join("/"),
        _ => format!("./{}", parts.join("/")),
    }
}

/// Returns a path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

fn escape(name: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(*byte)),
            other => {
                use std::fmt::Write;
                // Writing into a string cannot fail.
                write!(escaped, "%{other:02X}").ok();
            }
        }
    }
    escaped
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_escaped() {
        let url = |directory: &str, file: &str| relative_url(Path::new(directory), Path::new(file));
        assert_eq!(url("/a/b", "/a/b/c/d.md"), "./c/d.md");
        assert_eq!(url("/a/b", "/a/c/../x y#1.diff"), "../x%20y%231.diff");
        assert_eq!(url("/", "/javascript:alert(1)"), "./javascript%3Aalert%281%29");
        assert_eq!(url("/a/./b/", "/a/b/ü"), "./%C3%BC");
    }
}
