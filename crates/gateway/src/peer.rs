//! The user who owns the other end of a loopback connection.
//!
//! A TCP socket has no credentials, but the kernel lists the machine's sockets with their owners, and the client's
//! end of a loopback connection is in that list.

use std::net::SocketAddr;

/// Whether a client may use the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this user, or of the superuser.
    Trusted,
    /// A process of another user, with that user's id.
    OtherUser(u32),
    /// The client has already closed its socket, or the list lacks it.
    Gone,
    /// This system has no such list.
    Unknown,
}

/// Finds the owner of the socket that is connected from `client` to `gateway`.
///
/// Blocks for some milliseconds: the kernel walks its whole connection table for each list (1.7 ms on a machine
/// with 24 sockets, 2 ms with 900).
#[cfg(target_os = "linux")]
pub(crate) use linux::find;

/// Returns [`Peer::Unknown`], because only Linux has the list.
#[cfg(not(target_os = "linux"))]
pub(crate) fn find(_client: SocketAddr, _gateway: SocketAddr) -> Peer {
    Peer::Unknown
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Peer, SocketAddr};
    use memchr::memmem;
    use std::fmt::Write;
    use std::net::{IpAddr, Ipv6Addr};
    use std::{fs, io};

    /// The lists of IPv4 and IPv6 sockets. A program may reach an IPv4 address through an IPv6 socket.
    const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

    pub(crate) fn find(client: SocketAddr, gateway: SocketAddr) -> Peer {
        let addresses = [row_start(client, gateway), row_start(mapped(client), mapped(gateway))];
        let mut owner = None;
        for (path, addresses) in LISTS.into_iter().zip(addresses) {
            if owner.is_some() {
                break;
            }
            match fs::read(path) {
                Ok(list) => owner = owner_in(&list, &addresses),
                // This list is absent without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path != LISTS[0] => {}
                Err(_) => return Peer::Unknown,
            }
        }
        match owner {
            None => Peer::Gone,
            Some(0) => Peer::Trusted,
            Some(user) if user == rustix::process::geteuid().as_raw() => Peer::Trusted,
            Some(user) => Peer::OtherUser(user),
        }
    }

    fn mapped(address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        }
    }

    /// Returns the local and remote address of a socket in the format of the list.
    fn row_start(local: SocketAddr, remote: SocketAddr) -> String {
        let mut text = String::from(" ");
        for address in [local, remote] {
            match address.ip() {
                IpAddr::V4(ip) => write_words(&mut text, &ip.octets()),
                IpAddr::V6(ip) => write_words(&mut text, &Ipv6Addr::octets(&ip)),
            }
            write!(text, ":{:04X} ", address.port()).ok();
        }
        text
    }

    /// Writes an address like the kernel: as 32-bit words in native byte order.
    fn write_words(text: &mut String, octets: &[u8]) {
        for word in octets.as_chunks::<4>().0 {
            write!(text, "{:08X}", u32::from_ne_bytes(*word)).ok();
        }
    }

    /// Returns the owner of the socket whose row has these addresses. `None` if no process has it open any more;
    /// the kernel then lists the superuser as its owner.
    fn owner_in(list: &[u8], addresses: &str) -> Option<u32> {
        let at = memmem::find(list, addresses.as_bytes())? + addresses.len();
        let row = list.get(at..)?.split(|byte| *byte == b'\n').next()?;
        // The columns are: state, queues, timer, retransmits, user, timeout, inode.
        let mut columns = std::str::from_utf8(row).ok()?.split_ascii_whitespace().skip(4);
        let user = columns.next()?.parse().ok()?;
        let inode: u64 = columns.nth(1)?.parse().ok()?;
        (inode != 0).then_some(user)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::net::{TcpListener, TcpStream};

        #[test]
        fn owners_of_both_families_are_found() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let gateway = listener.local_addr().unwrap();
            for address in [gateway, mapped(gateway)] {
                let client = TcpStream::connect(address).unwrap();
                let (_served, peer) = listener.accept().unwrap();
                assert_eq!(find(peer, gateway), Peer::Trusted, "{address}");
                drop(client);
            }
        }

        #[test]
        fn closed_client_is_gone() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let gateway = listener.local_addr().unwrap();
            let client = TcpStream::connect(gateway).unwrap();
            let (served, peer) = listener.accept().unwrap();
            drop(client);
            assert_eq!(find(peer, gateway), Peer::Gone);
            drop(served);
            assert_eq!(find(peer, gateway), Peer::Gone);
        }

        #[test]
        fn owner_is_read_from_connection_row() {
            let row = |addresses: &str, user: u32, inode: u32| {
                format!("   1:{addresses}01 00000000:00000000 00:00000000 00000000 {user:>5}        0 {inode} 1 x\n")
            };
            let client = ([127, 0, 0, 1], 4711).into();
            let gateway = ([127, 0, 0, 1], 80).into();
            // The gateway's end has the same addresses in reverse order.
            let list = row(&row_start(gateway, client), 1, 10) + &row(&row_start(client, gateway), 65534, 11);
            assert_eq!(owner_in(list.as_bytes(), &row_start(client, gateway)), Some(65534));
            let orphaned = row(&row_start(client, gateway), 0, 0);
            assert_eq!(owner_in(orphaned.as_bytes(), &row_start(client, gateway)), None);
            assert_eq!(owner_in(b"", &row_start(client, gateway)), None);
            if cfg!(target_endian = "little") {
                assert_eq!(row_start(client, gateway), " 0100007F:1267 0100007F:0050 ");
                let mapped = row_start(mapped(client), mapped(gateway));
                assert!(mapped.starts_with(" 0000000000000000FFFF00000100007F:1267 "), "{mapped}");
            }
        }
    }
}
