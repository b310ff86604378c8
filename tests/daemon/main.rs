//! The daemon from outside: the built binary on free ports of the loopback, phones as plain sockets, the command line.

mod administer;
mod guard;
mod link;
mod phone;
mod process;
mod start;
mod stop;
mod systemd;
mod tls;
