//! The client's side of digest authentication (RFC 7616, RFC 8760), one nonce used again with a growing `nc`.

use super::text::{Msg, split_list};
use md5::Md5;
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Algorithm {
    Md5,
    Sha256,
}

/// A challenge being answered, and how often it was.
#[derive(Clone, Debug)]
pub struct Session {
    pub realm: String,
    pub nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    qop: bool,
    pub nc: u32,
    /// `Authorization` or `Proxy-Authorization`.
    header: &'static str,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Algorithm {
    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => hex(&Md5::digest(text.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(text.as_bytes())),
        }
    }
}

pub fn md5(text: &str) -> [u8; 16] {
    Md5::digest(text.as_bytes()).into()
}

pub fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Session {
    /// The challenge of a 401 or 407 this phone can answer; `strong` phones take SHA-256 where it is offered.
    pub fn of(response: &Msg, strong: bool) -> Option<Session> {
        let (name, header) = match response.code() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            Some(407) => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return None,
        };
        let fields = response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let sessions: Vec<Session> = fields.filter_map(|(_, value)| challenge(value, header)).collect();
        let wanted = if strong { Algorithm::Sha256 } else { Algorithm::Md5 };
        let best = sessions.iter().find(|s| s.algorithm == wanted);
        best.or_else(|| sessions.iter().find(|s| strong || s.algorithm == Algorithm::Md5)).cloned()
    }

    /// The credentials for one more request: counts `nc` up.
    pub fn credentials(&mut self, user: &str, password: &str, method: &str, uri: &str) -> (&'static str, String) {
        self.nc += 1;
        let ha1 = self.algorithm.hash(&format!("{user}:{}:{password}", self.realm));
        let ha2 = self.algorithm.hash(&format!("{method}:{uri}"));
        let (nc, cnonce) = (format!("{:08x}", self.nc), format!("c{:x}", u64::from(self.nc) * 7919));
        let response = match self.qop {
            true => self.algorithm.hash(&format!("{ha1}:{}:{nc}:{cnonce}:auth:{ha2}", self.nonce)),
            false => self.algorithm.hash(&format!("{ha1}:{}:{ha2}", self.nonce)),
        };
        let mut out = format!(
            "Digest username=\"{user}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", algorithm={}",
            self.realm,
            self.nonce,
            if self.algorithm == Algorithm::Md5 { "MD5" } else { "SHA-256" },
        );
        if self.qop {
            out.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            out.push_str(&format!(", opaque=\"{opaque}\""));
        }
        (self.header, out)
    }
}

fn challenge(value: &str, header: &'static str) -> Option<Session> {
    let fields = split_list(value.strip_prefix("Digest ")?);
    let get = |name: &str| {
        let found = fields.iter().filter_map(|f| f.split_once('=')).find(|(n, _)| n.trim().eq_ignore_ascii_case(name));
        found.map(|(_, v)| v.trim().trim_matches('"').to_string())
    };
    let algorithm = match get("algorithm").as_deref() {
        None | Some("MD5") => Algorithm::Md5,
        Some("SHA-256") => Algorithm::Sha256,
        Some(_) => return None,
    };
    let qop = get("qop").is_some_and(|list| list.split(',').any(|q| q.trim() == "auth"));
    Some(Session { realm: get("realm")?, nonce: get("nonce")?, opaque: get("opaque"), algorithm, qop, nc: 0, header })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_rfc_2617_section_3_5_does() {
        let mut session = Session {
            realm: "testrealm@host.com".into(),
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093".into(),
            opaque: None,
            algorithm: Algorithm::Md5,
            qop: false,
            nc: 0,
            header: "Authorization",
        };
        // The RFC's example with qop has its own cnonce; without qop only HA1, nonce and HA2 count.
        let (_, value) = session.credentials("Mufasa", "Circle Of Life", "GET", "/dir/index.html");
        assert!(value.contains("response=\"670fd8c2df070c60b045671b8b24ff02\""), "{value}");
    }

    #[test]
    fn takes_the_algorithm_it_knows() {
        let response = Msg::parse(
            b"SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\n\
              WWW-Authenticate: Digest realm=\"r\", nonce=\"m\", algorithm=MD5, qop=\"auth\"\r\nContent-Length: 0\r\n\r\n",
        );
        let response = response.unwrap();
        assert_eq!(Session::of(&response, true).unwrap().nonce, "n");
        assert_eq!(Session::of(&response, false).unwrap().nonce, "m");
    }
}
