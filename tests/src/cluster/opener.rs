//! Which of some processes opened a connection on loopback, by what Linux tells in `/proc`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// The place in `pids` of the process that opened the connection from `from` to `to`.
pub(super) fn find(from: SocketAddr, to: SocketAddr, pids: &[Option<u32>]) -> Option<usize> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, from.port(), to.port())?);
    pids.iter()
        .position(|pid| pid.is_some_and(|pid| holds(pid, &socket)))
}

/// The inode of the socket that is bound to `local` and connected to `remote`.
fn inode(table: &str, local: u16, remote: u16) -> Option<&str> {
    let ends = |field: &str, port: u16| field.ends_with(&format!(":{port:04X}"));
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (from, to) = (fields.next()?, fields.next()?);
        // Then come state, queues, timer, retransmits, user and timeout.
        (ends(from, local) && ends(to, remote)).then(|| fields.nth(6))?
    })
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new(socket)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::process;

    use super::find;

    #[test]
    fn a_connection_of_this_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (from, to) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        assert_eq!(find(from, to, &[None, Some(process::id())]), Some(1));
        assert_eq!(find(from, to, &[None]), None);
    }
}
