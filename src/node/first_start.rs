//! What a first start tells the person at the terminal: the extensions it made, as a table to type into phones.

use crate::engine::flow::Transport;
use std::fmt::Write;
use std::net::SocketAddr;

/// The table of a first start. `listeners` are bound addresses phones can use.
pub fn table(passwords: &[(String, String)], listeners: &[(Transport, SocketAddr)]) -> String {
    let mut text = String::from(
        "\nFirst start: these extensions were made. Their passwords are shown this once; type them into the phones.\n\n",
    );
    let widest = passwords.iter().map(|(_, password)| password.len()).max().unwrap_or(0).max("Password".len());
    let _ = writeln!(text, "  {:<10} {:<10} {:<widest$}", "Extension", "User name", "Password");
    let _ = writeln!(text, "  {:-<10} {:-<10} {:-<widest$}", "", "", "");
    for (number, password) in passwords {
        let _ = writeln!(text, "  {number:<10} {number:<10} {password:<widest$}");
    }
    text.push_str("\n  Server (registrar and proxy), one of:\n");
    for (transport, address) in listeners {
        let port = if address.port() == 5060 { String::new() } else { format!(", port {}", address.port()) };
        let loopback = if address.ip().is_loopback() { " (phones on this machine only)" } else { "" };
        let _ = writeln!(text, "    {}{port}, transport {}{loopback}", address.ip(), transport.via());
    }
    text.push_str("\n  A password is changed with: strowger extensions passwd NUMBER\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_can_read_number_password_and_server() {
        let passwords = [("1001".to_owned(), "abcd-efgh".to_owned()), ("1002".to_owned(), "ijkl-mnop".to_owned())];
        let listeners =
            [(Transport::Udp, "192.0.2.1:5060".parse().unwrap()), (Transport::Tcp, "127.0.0.1:5070".parse().unwrap())];
        let text = table(&passwords, &listeners);
        assert!(text.contains("  1001       1001       abcd-efgh"), "{text}");
        assert!(text.contains("    192.0.2.1, transport UDP\n"), "{text}");
        assert!(text.contains("    127.0.0.1, port 5070, transport TCP (phones on this machine only)\n"), "{text}");
    }
}
