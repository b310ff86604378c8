//! The limit of open files: every connection and every audio port is one.

use crate::base::limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files of the database, the log, HTTP and the like.
const OTHERS: usize = 1_024;

/// How many files may be open, shared out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Files {
    /// SIP connections at once.
    pub connections: usize,
    /// All files that are not audio ports.
    pub but_audio: usize,
}

/// Raises the limit as far as the system allows. Where that is not far, connections get a quarter of it: audio needs four
/// files a call, a phone on a connection one.
pub fn raise() -> Files {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((OTHERS as u64, OTHERS as u64));
    let limit = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    share(usize::try_from(limit).unwrap_or(usize::MAX))
}

fn share(limit: usize) -> Files {
    let others = OTHERS.min(limit / 4);
    let connections = limits::CONNECTIONS.min(limit / 4);
    if connections < limits::CONNECTIONS {
        tracing::warn!(
            "only {limit} files may be open at once: at most {connections} phones can be connected over TCP and TLS. Raise the limit \
             (ulimit -n, LimitNOFILE= in systemd)"
        );
    }
    Files { connections, but_audio: connections + others }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_shared_and_a_high_one_is_enough_for_all() {
        assert_eq!(
            share(1_048_576),
            Files { connections: limits::CONNECTIONS, but_audio: limits::CONNECTIONS + OTHERS }
        );
        assert_eq!(share(4_096), Files { connections: 1_024, but_audio: 2_048 });
    }
}
