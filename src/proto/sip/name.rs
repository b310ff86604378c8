//! The header fields we know by name.

macro_rules! names {
    ($($variant:ident $text:literal $(/ $compact:literal)?,)*) => {
        /// A header field's name. `Other` is any not listed; `Message::field_named` finds those.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Name {
            $($variant,)*
            Other,
        }

        /// Every known name with its full form.
        const KNOWN: &[(Name, &str)] = &[$((Name::$variant, $text),)*];
        const COMPACT: &[(Name, u8)] = &[$($((Name::$variant, $compact),)?)*];
    };
}

names! {
    Via "Via" / b'v',
    From "From" / b'f',
    To "To" / b't',
    CallId "Call-ID" / b'i',
    CSeq "CSeq",
    Contact "Contact" / b'm',
    MaxForwards "Max-Forwards",
    Route "Route",
    RecordRoute "Record-Route",
    ContentType "Content-Type" / b'c',
    ContentLength "Content-Length" / b'l',
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" / b'e',
    ContentLanguage "Content-Language",
    ContentId "Content-ID",
    MimeVersion "MIME-Version",
    Expires "Expires",
    MinExpires "Min-Expires",
    Authorization "Authorization",
    ProxyAuthorization "Proxy-Authorization",
    WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate",
    AuthenticationInfo "Authentication-Info",
    Supported "Supported" / b'k',
    Require "Require",
    ProxyRequire "Proxy-Require",
    Unsupported "Unsupported",
    Allow "Allow",
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    UserAgent "User-Agent",
    Server "Server",
    Subject "Subject" / b's',
    Event "Event" / b'o',
    AllowEvents "Allow-Events" / b'u',
    ReferTo "Refer-To" / b'r',
    ReferredBy "Referred-By" / b'b',
    ReferSub "Refer-Sub",
    TargetDialog "Target-Dialog",
    Replaces "Replaces",
    Join "Join",
    Reason "Reason",
    RSeq "RSeq",
    RAck "RAck",
    SessionExpires "Session-Expires" / b'x',
    MinSe "Min-SE",
    Path "Path",
    ServiceRoute "Service-Route",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    RemotePartyId "Remote-Party-ID",
    PCalledPartyId "P-Called-Party-ID",
    Privacy "Privacy",
    RetryAfter "Retry-After",
    Warning "Warning",
    Timestamp "Timestamp",
    Diversion "Diversion",
    HistoryInfo "History-Info",
    AlertInfo "Alert-Info",
    CallInfo "Call-Info",
    ErrorInfo "Error-Info",
    AnswerMode "Answer-Mode",
    PrivAnswerMode "Priv-Answer-Mode",
    SubscriptionState "Subscription-State",
    SipETag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    RecvInfo "Recv-Info",
    InfoPackage "Info-Package",
    XMacAddress "X-MAC-Address",
    Mac "Mac",
    Date "Date",
    Organization "Organization",
    InReplyTo "In-Reply-To",
    ReplyTo "Reply-To",
    Priority "Priority",
    Identity "Identity",
    RequestDisposition "Request-Disposition" / b'd',
    AcceptContact "Accept-Contact" / b'a',
    RejectContact "Reject-Contact" / b'j',
    FlowTimer "Flow-Timer",
    PEarlyMedia "P-Early-Media",
}

/// Buckets of 3 in a table by length and first letter, filled at compile time; a full bucket fails the build.
const BUCKETS: usize = 64;
const WAYS: usize = 3;

struct Table {
    names: [[u8; WAYS]; BUCKETS],
    compact: [Name; 26],
}

const EMPTY: u8 = u8::MAX;
static TABLE: Table = table();

const fn bucket(first: u8, len: usize) -> usize {
    ((first | 0x20) as usize * 3 + len * 4) % BUCKETS
}

const fn table() -> Table {
    let mut table = Table { names: [[EMPTY; WAYS]; BUCKETS], compact: [Name::Other; 26] };
    let mut i = 0;
    while i < KNOWN.len() {
        let text = KNOWN[i].1.as_bytes();
        let bucket = bucket(text[0], text.len());
        let mut way = 0;
        while table.names[bucket][way] != EMPTY {
            way += 1;
        }
        table.names[bucket][way] = i as u8;
        i += 1;
    }
    i = 0;
    while i < COMPACT.len() {
        table.compact[(COMPACT[i].1 - b'a') as usize] = COMPACT[i].0;
        i += 1;
    }
    table
}

impl Name {
    /// The name written as `text`, in any case, full or compact.
    pub fn of(text: &[u8]) -> Name {
        let Some(first) = text.first() else { return Name::Other };
        if text.len() == 1 {
            let letter = usize::from((first | 0x20).wrapping_sub(b'a'));
            return TABLE.compact.get(letter).copied().unwrap_or(Name::Other);
        }
        for way in TABLE.names[bucket(*first, text.len())] {
            match KNOWN.get(usize::from(way)) {
                Some((name, known)) if known.as_bytes().eq_ignore_ascii_case(text) => return *name,
                Some(_) => {}
                None => break,
            }
        }
        Name::Other
    }

    /// The full form; empty for `Other`.
    pub fn text(self) -> &'static str {
        KNOWN.get(self as usize).map_or("", |(_, text)| text)
    }

    pub(super) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

const _: () = assert!(KNOWN.len() < 128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, text) in KNOWN {
            assert_eq!(Name::of(text.as_bytes()), *name);
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), *name);
            assert_eq!(name.text(), *text);
        }
        for (name, letter) in COMPACT {
            assert_eq!(Name::of(&[*letter]), *name);
            assert_eq!(Name::of(&[letter.to_ascii_uppercase()]), *name);
        }
        for other in ["", "z", "1", "\u{e9}", "Vib", "X-Unknown", "Content-Lengths"] {
            assert_eq!(Name::of(other.as_bytes()), Name::Other, "{other}");
        }
        assert_eq!(Name::Other.text(), "");
    }
}
