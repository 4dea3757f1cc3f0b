//! Addresses of repositories.

/// Returns an address without the user and password in it.
pub(crate) fn without_password(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_not_shown() {
        assert_eq!(without_password("https://me:secret@host/x@y"), "https://host/x@y");
        assert_eq!(without_password("git@host:x"), "git@host:x");
        assert_eq!(without_password("/a/b"), "/a/b");
    }
}
