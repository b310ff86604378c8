//! Typed values of the smaller header fields.

use super::error::{ParseError, Problem};
use super::lex::{self, Params};
use super::method::Method;

/// RFC 3261 §20.16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CSeq<'a> {
    /// Below 2^31 (§8.1.1.5).
    pub number: u32,
    pub method: Method<'a>,
}

/// RFC 3262 §7.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RAck<'a> {
    pub rseq: u32,
    pub cseq: CSeq<'a>,
}

/// RFC 4028 §4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionExpires {
    pub seconds: u32,
    pub refresher: Option<Refresher>,
}

/// Who refreshes a session: the request's sender or its receiver (RFC 4028 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    Uac,
    Uas,
}

/// A value with parameters: Event, Subscription-State, Reason, Content-Disposition, Info-Package, Alert-Info.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'a> {
    pub value: &'a [u8],
    pub params: Params<'a>,
}

/// RFC 3261 §20.15.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaType<'a> {
    pub kind: &'a [u8],
    pub subtype: &'a [u8],
    pub params: Params<'a>,
}

/// The dialog a Replaces, Join or Target-Dialog header means (RFC 3891 §6.1), seen from its sender: tags swap sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DialogRef<'a> {
    pub call_id: &'a [u8],
    pub to_tag: &'a [u8],
    pub from_tag: &'a [u8],
    pub early_only: bool,
}

/// Splits at the first white space.
fn word(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|b| lex::is_space(*b)).unwrap_or(value.len());
    (&value[..end], lex::trim(&value[end..]))
}

impl<'a> CSeq<'a> {
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, ParseError> {
        let (number, method) = word(value);
        let number = lex::number(number).filter(|n| *n < 1 << 31).ok_or(Problem::CSeq.at(0))?;
        if !lex::is_token(method) {
            return Err(Problem::CSeq.at(value.len() - method.len()));
        }
        Ok(CSeq { number, method: Method::of(method) })
    }
}

impl<'a> RAck<'a> {
    pub fn parse(value: &'a [u8]) -> Option<RAck<'a>> {
        let (rseq, cseq) = word(value);
        Some(RAck { rseq: lex::number(rseq)?, cseq: CSeq::parse(cseq).ok()? })
    }
}

impl<'a> Item<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Item<'a>, ParseError> {
        // An Alert-Info's URI may have parameters of its own inside the brackets.
        let inside = match value.first() {
            Some(b'<') => memchr::memchr(b'>', value).ok_or(Problem::Brackets.at(0))?,
            _ => 0,
        };
        let semicolon = memchr::memchr(b';', &value[inside..]).map_or(value.len(), |at| at + inside);
        let params = Params::parse(&value[semicolon..]).map_err(|e| e.shifted(semicolon))?;
        Ok(Item { value: lex::trim(&value[..semicolon]), params })
    }

    /// Whether the value is `text`, without case.
    pub fn is(&self, text: &str) -> bool {
        self.value.eq_ignore_ascii_case(text.as_bytes())
    }
}

impl<'a> MediaType<'a> {
    pub fn parse(value: &'a [u8]) -> Result<MediaType<'a>, ParseError> {
        let item = Item::parse(value)?;
        let slash = memchr::memchr(b'/', item.value).ok_or(Problem::Value.at(0))?;
        let (kind, subtype) = (lex::trim(&item.value[..slash]), lex::trim(&item.value[slash + 1..]));
        if !lex::is_token(kind) || !lex::is_token(subtype) {
            return Err(Problem::Value.at(0));
        }
        Ok(MediaType { kind, subtype, params: item.params })
    }

    /// Whether it is `kind/subtype`, without case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes()) && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }
}

impl SessionExpires {
    pub fn parse(value: &[u8]) -> Option<SessionExpires> {
        let item = Item::parse(value).ok()?;
        let refresher = match item.params.get("refresher") {
            Some(r) if r.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            Some(r) if r.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            _ => None,
        };
        Some(SessionExpires { seconds: lex::number(item.value)?, refresher })
    }
}

impl Refresher {
    /// As written in the `refresher` parameter.
    pub fn text(self) -> &'static str {
        match self {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        }
    }
}

impl<'a> DialogRef<'a> {
    pub fn parse(value: &'a [u8]) -> Option<DialogRef<'a>> {
        let item = Item::parse(value).ok()?;
        Some(DialogRef {
            call_id: item.value,
            to_tag: item.params.get("to-tag")?,
            from_tag: item.params.get("from-tag")?,
            early_only: item.params.has("early-only"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE").unwrap(), CSeq { number: 9, method: Method::Invite });
        assert_eq!(CSeq::parse(b"2147483647 FOO").unwrap().method, Method::Other(b"FOO"));
        for bad in ["", "1", "x INVITE", "2147483648 INVITE", "1 INV ITE", "36893488147419103232 REGISTER"] {
            assert_eq!(CSeq::parse(bad.as_bytes()).unwrap_err().problem, Problem::CSeq, "{bad}");
        }
    }

    #[test]
    fn the_others() {
        let rack = RAck::parse(b"776656 1 INVITE").unwrap();
        assert_eq!((rack.rseq, rack.cseq.number, rack.cseq.method), (776656, 1, Method::Invite));
        let se = SessionExpires::parse(b"3600;refresher=UAS").unwrap();
        assert_eq!((se.seconds, se.refresher), (3600, Some(Refresher::Uas)));
        assert_eq!(SessionExpires::parse(b"x"), None);
        let media = MediaType::parse(b"Multipart/Mixed; boundary=\"a;b\"").unwrap();
        assert!(media.is("multipart", "mixed"));
        assert_eq!(media.params.get("boundary"), Some(&b"\"a;b\""[..]));
        assert!(MediaType::parse(b"sdp").is_err());
        let replaces = DialogRef::parse(b"98732@x;from-tag=r33th4x0r;to-tag=ff87ff;early-only").unwrap();
        assert_eq!((replaces.call_id, replaces.to_tag), (&b"98732@x"[..], &b"ff87ff"[..]));
        assert!(replaces.early_only);
        let alert = Item::parse(b"<http://a/b;c>;info=alert-autoanswer").unwrap();
        assert_eq!(alert.params.get("info"), Some(&b"alert-autoanswer"[..]));
        assert!(Item::parse(b"Dialog;id=1").unwrap().is("dialog"));
    }
}
