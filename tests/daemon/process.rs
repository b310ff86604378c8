//! The binary as a child process: started with a data directory of its own, its output read, ended by its id.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const STARTED: Duration = Duration::from_secs(30);

pub fn strowger() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STROWGER_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs `strowger ARGUMENTS` on a data directory to its end.
pub fn run(directory: &Path, arguments: &[&str]) -> Output {
    let data = directory.join("data");
    let config = directory.join("config.yml");
    if !config.exists() {
        std::fs::write(&config, "# defaults\n").unwrap();
    }
    strowger().args(arguments).arg("--config").arg(config).arg("--data-dir").arg(data).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// Everything it printed up to `ready`.
    pub said: String,
    pub udp: SocketAddr,
    pub tcp: SocketAddr,
    pub tls: SocketAddr,
    pub http: SocketAddr,
}

/// Where a daemon's files are, over its restarts.
pub struct Home {
    directory: TempDir,
    config: String,
    rtp: u16,
}

impl Home {
    pub fn new() -> Home {
        Home::with_config("")
    }

    pub fn with_config(config: &str) -> Home {
        use std::sync::atomic::{AtomicU16, Ordering};
        // Daemons of one test run have ports of their own.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let rtp = 30_000 + 100 * NEXT.fetch_add(1, Ordering::Relaxed);
        Home { directory: tempfile::tempdir().unwrap(), config: format!("# of a test\n{config}\n"), rtp }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `strowger ARGUMENTS` on this data directory, to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        std::fs::write(self.path().join("config.yml"), &self.config).unwrap();
        run(self.path(), arguments)
    }

    pub fn command(&self, sip: &[String]) -> Command {
        let config = self.path().join("config.yml");
        std::fs::write(&config, &self.config).unwrap();
        let mut command = strowger();
        command.arg("run").arg("--config").arg(config).arg("--data-dir").arg(self.path().join("data"));
        for listener in sip {
            command.arg("--sip-listen").arg(listener);
        }
        let rtp = format!("{}-{}", self.rtp, self.rtp + 99);
        command.args(["--http-listen", "127.0.0.1:0", "--rtp-ports", &rtp]);
        command
    }

    /// Starts the daemon on free ports and waits until it is ready.
    pub fn start(&self) -> Daemon {
        self.start_on(&["udp:127.0.0.1:0".to_owned(), "tcp:127.0.0.1:0".to_owned()])
    }

    pub fn start_on(&self, sip: &[String]) -> Daemon {
        Daemon::spawn(&mut self.command(sip))
    }
}

impl Daemon {
    pub fn spawn(command: &mut Command) -> Daemon {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(10_000);
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut daemon =
            Daemon { child, lines, said: String::new(), udp: nowhere, tcp: nowhere, tls: nowhere, http: nowhere };
        daemon.said = daemon.wait_for("ready", STARTED);
        for line in daemon.said.clone().lines() {
            if let Some(at) = line.strip_prefix("listening sip udp:") {
                daemon.udp = at.parse().unwrap();
            } else if let Some(at) = line.strip_prefix("listening sip tcp:") {
                daemon.tcp = at.parse().unwrap();
            } else if let Some(at) = line.strip_prefix("listening sip tls:") {
                daemon.tls = at.parse().unwrap();
            } else if let Some(at) = line.strip_prefix("listening http ") {
                daemon.http = at.parse().unwrap();
            }
        }
        daemon
    }

    /// Everything it says until a line that contains `text`, with that line.
    pub fn wait_for(&mut self, text: &str, within: Duration) -> String {
        let end = Instant::now() + within;
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    said.push_str(&line);
                    said.push('\n');
                    if line.contains(text) {
                        return said;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no `{text}` within {within:?}; it said:\n{said}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without `{text}`; it said:\n{said}"),
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end; returns its exit status and what it said meanwhile.
    pub fn ended(&mut self, within: Duration) -> (ExitStatus, String) {
        let end = Instant::now() + within;
        let mut said = String::new();
        // Both outputs close when it ends.
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => said.push_str(&(line + "\n")),
                Err(RecvTimeoutError::Disconnected) => return (self.child.wait().unwrap(), said),
                Err(RecvTimeoutError::Timeout) => panic!("it did not end within {within:?}; it said:\n{said}"),
            }
        }
    }

    /// Ctrl-C, and the end in order.
    pub fn stop(mut self) {
        self.signal(Signal::SIGINT);
        let (status, said) = self.ended(Duration::from_secs(30));
        assert!(status.success(), "{status}: {said}");
    }

    /// SIGKILL: a crash.
    pub fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The body of `GET path` over HTTP/1.1, and its status.
    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, body, _) = self.get_with(path, "");
        (status, body)
    }

    /// The same with more headers, a line each; also the answer's headers.
    pub fn get_with(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let host = self.http;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (status, body.to_owned(), format!("{head}\r\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
