//! SIP messages as lines of text (RFC 3261 §7). Slow and simple on purpose: an independent reading of the same grammar.

#[derive(Clone, PartialEq, Debug)]
pub enum Start {
    Request { method: String, uri: String },
    Status { code: u16, reason: String },
}

#[derive(Clone, PartialEq, Debug)]
pub struct Msg {
    pub start: Start,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// RFC 3261 §7.3.3 and the registry's other one-letter names.
const COMPACT: [(&str, &str); 13] = [
    ("Via", "v"),
    ("From", "f"),
    ("To", "t"),
    ("Call-ID", "i"),
    ("Contact", "m"),
    ("Content-Length", "l"),
    ("Content-Type", "c"),
    ("Content-Encoding", "e"),
    ("Subject", "s"),
    ("Supported", "k"),
    ("Session-Expires", "x"),
    ("Refer-To", "r"),
    ("Event", "o"),
];

impl Msg {
    pub fn request(method: &str, uri: &str) -> Msg {
        Msg {
            start: Start::Request { method: method.into(), uri: uri.into() },
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub fn parse(bytes: &[u8]) -> Option<Msg> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.trim_start_matches("\r\n");
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = parse_start(lines.next()?)?;
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let last = headers.last_mut()?;
                let gap = if last.1.is_empty() { "" } else { " " };
                last.1.push_str(gap);
                last.1.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((long_name(name.trim()).to_string(), value.trim().to_string()));
        }
        let mut msg = Msg { start, headers, body: String::new() };
        let length: usize = match msg.get("Content-Length") {
            Some(text) => text.parse().ok()?,
            None => rest.len(),
        };
        msg.body = rest.get(..length)?.to_string();
        Some(msg)
    }

    /// `terse`: one-letter names and a folded header, both legal since RFC 2543.
    pub fn encode(&self, terse: bool) -> Vec<u8> {
        let mut out = String::with_capacity(600 + self.body.len());
        match &self.start {
            Start::Request { method, uri } => out.push_str(&format!("{method} {uri} SIP/2.0\r\n")),
            Start::Status { code, reason } => out.push_str(&format!("SIP/2.0 {code} {reason}\r\n")),
        }
        for (name, value) in &self.headers {
            out.push_str(if terse { short_name(name) } else { name });
            out.push_str(if terse { " : " } else { ": " });
            if terse && name == "User-Agent" {
                out.push_str("\r\n  ");
            }
            out.push_str(value);
            out.push_str("\r\n");
        }
        out.push_str(&format!("{}: {}\r\n\r\n", if terse { "l" } else { "Content-Length" }, self.body.len()));
        out.push_str(&self.body);
        out.into_bytes()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The first value of a list header, or the empty string.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// Every value of a header that is a comma list.
    pub fn list(&self, name: &str) -> Vec<String> {
        let fields = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields.flat_map(|(_, value)| split_list(value)).collect()
    }

    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name).iter().any(|t| t.eq_ignore_ascii_case(token))
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Msg {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(header) => header.1 = value,
            None => self.headers.push((name.into(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub fn method(&self) -> Option<&str> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Status { .. } => None,
        }
    }

    pub fn uri(&self) -> &str {
        match &self.start {
            Start::Request { uri, .. } => uri,
            Start::Status { .. } => "",
        }
    }

    pub fn code(&self) -> Option<u16> {
        match &self.start {
            Start::Request { .. } => None,
            Start::Status { code, .. } => Some(*code),
        }
    }

    /// Number and method of CSeq.
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.get("CSeq")?.split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    pub fn call_id(&self) -> &str {
        self.value("Call-ID")
    }

    pub fn tag_of_from(&self) -> Option<&str> {
        param(self.get("From")?, "tag")
    }

    pub fn tag_of_to(&self) -> Option<&str> {
        param(self.get("To")?, "tag")
    }

    pub fn top_via(&self) -> Option<String> {
        self.get("Via").and_then(|value| split_list(value).into_iter().next())
    }

    pub fn branch(&self) -> Option<String> {
        self.top_via().and_then(|via| param(&via, "branch").map(str::to_string))
    }

    /// `INVITE sip:1002@…` or `180 Ringing (INVITE)`, for ladders.
    pub fn title(&self) -> String {
        let cseq = self.value("CSeq");
        match &self.start {
            Start::Request { method, uri } => format!("{method} {uri} [{cseq}]"),
            Start::Status { code, reason } => format!("{code} {reason} [{cseq}]"),
        }
    }
}

fn parse_start(line: &str) -> Option<Start> {
    if let Some(status) = line.strip_prefix("SIP/2.0 ") {
        let (code, reason) = status.split_once(' ').unwrap_or((status, ""));
        let code: u16 = code.parse().ok()?;
        return (100..700).contains(&code).then(|| Start::Status { code, reason: reason.into() });
    }
    let mut words = line.split(' ');
    let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
    (version == "SIP/2.0" && words.next().is_none()).then(|| Start::Request { method: method.into(), uri: uri.into() })
}

fn long_name(name: &str) -> &str {
    COMPACT.iter().find(|(_, short)| short.eq_ignore_ascii_case(name)).map_or(name, |(long, _)| long)
}

fn short_name(name: &str) -> &str {
    COMPACT.iter().find(|(long, _)| long.eq_ignore_ascii_case(name)).map_or(name, |(_, short)| short)
}

/// Splits at commas outside quotes and angle brackets.
pub fn split_list(value: &str) -> Vec<String> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    let mut items = vec![String::new()];
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        items.last_mut().expect("never empty").push(c);
    }
    items.iter().map(|item| item.trim().to_string()).filter(|item| !item.is_empty()).collect()
}

/// A header parameter: after the `>` of a name-addr, else after the first `;`.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let tail = value.rfind('>').map_or(value, |at| &value[at + 1..]);
    tail.split(';').skip(1).find_map(|p| {
        let (n, v) = p.split_once('=').unwrap_or((p, ""));
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim().trim_matches('"'))
    })
}

/// The URI of a name-addr or addr-spec.
pub fn uri_of(value: &str) -> &str {
    match (value.find('<'), value.rfind('>')) {
        (Some(open), Some(close)) if open < close => &value[open + 1..close],
        _ => value.split(';').next().unwrap_or("").trim(),
    }
}

/// The user part of a SIP URI; empty if it has none.
pub fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// `host:port` of a SIP URI, without parameters.
pub fn host_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    host.split([';', '?']).next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_terse_or_not() {
        let msg = Msg::request("INVITE", "sip:1002@pbx")
            .with("Via", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport")
            .with("User-Agent", "Simphone, \"one\"")
            .with("To", "<sip:1002@pbx>;tag=x")
            .with("CSeq", "7 INVITE");
        for terse in [false, true] {
            let back = Msg::parse(&msg.encode(terse)).unwrap();
            assert_eq!(back.tag_of_to(), Some("x"));
            assert_eq!(back.cseq(), Some((7, "INVITE")));
            assert_eq!(back.branch().as_deref(), Some("z9hG4bK1"));
            assert_eq!(back.value("User-Agent"), "Simphone, \"one\"");
        }
    }

    #[test]
    fn lists_are_split_outside_quotes_and_brackets() {
        assert_eq!(split_list("<sip:a,b@x>, \"c, d\" <sip:e@x>;q=1"), ["<sip:a,b@x>", "\"c, d\" <sip:e@x>;q=1"]);
        assert_eq!(param("<sip:a@x;tag=no>;tag=yes", "tag"), Some("yes"));
        assert_eq!(host_of("sip:a@10.0.0.1:5060;transport=tcp"), "10.0.0.1:5060");
        assert_eq!(user_of("sip:a@10.0.0.1"), "a");
    }
}
