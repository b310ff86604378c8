//! The phones' own SIP: text in, text out, no more than a simple phone knows.

#[derive(Clone, Debug)]
pub struct Sip {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Sip {
    pub fn new(start: String) -> Sip {
        Sip { start, headers: Vec::new(), body: String::new() }
    }

    pub fn parse(bytes: &[u8]) -> Sip {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("the engine ends its headers");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(|line| line.split_once(": ").expect("a header of the engine has a colon and a space"));
        let headers: Vec<_> = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let message = Sip { start, headers, body: body.to_owned() };
        assert_eq!(message.header("Content-Length"), Some(&*message.body.len().to_string()), "{text}");
        message
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() && self.header("Content-Type").is_none() {
            out.push_str("Content-Type: application/sdp\r\n");
        }
        out.push_str(&format!("Content-Length: {}\r\n\r\n{}", self.body.len(), self.body));
        out.into_bytes()
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Sip {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn set(&mut self, name: &str, value: String) {
        match self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(header) => header.1 = value,
            None => self.headers.push((name.to_owned(), value)),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// None for a request.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// Of a request its own, of a response its request's.
    pub fn method(&self) -> String {
        let cseq = self.header("CSeq").and_then(|cseq| cseq.split(' ').nth(1));
        let own = self.start.split(' ').next().filter(|_| self.status().is_none());
        own.or(cseq).unwrap_or("?").to_owned()
    }

    pub fn cseq(&self) -> u32 {
        self.header("CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok()).unwrap_or(0)
    }

    pub fn request_uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    pub fn branch(&self) -> &str {
        self.header("Via").and_then(|via| parameter(via, "branch")).unwrap_or_default()
    }

    /// The tag of From or To.
    pub fn tag(&self, header: &str) -> Option<&str> {
        parameter(self.header(header)?, "tag")
    }

    /// The URI of the Contact.
    pub fn contact(&self) -> Option<&str> {
        Some(uri(self.header("Contact")?))
    }

    pub fn has(&self, header: &str, option: &str) -> bool {
        self.all(header).flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(option))
    }
}

/// The value of `;name=`.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='))
}

/// What stands in angle brackets.
pub fn uri(value: &str) -> &str {
    value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
}

/// The user of a SIP URI, or its host.
pub fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split('@').next().unwrap_or(rest)
}
