//! The small grammar all headers share (RFC 3261 §25.1): tokens, white space, numbers, quoted strings, parameters, lists.
//!
//! White space includes CR and LF everywhere: inside a field value they are only ever part of a fold (§7.3.1).

use super::error::{ParseError, Problem};
use std::borrow::Cow;

const TOKEN: u8 = 1;
const SPACE: u8 = 2;
const PARAM_VALUE: u8 = 4;
const USER: u8 = 8;
const HOST: u8 = 16;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let alphanumeric = b.is_ascii_alphanumeric();
        let mut class = 0;
        if alphanumeric || in_set(b, b"-.!%*_+`'~") {
            class |= TOKEN;
        }
        if in_set(b, b" \t\r\n") {
            class |= SPACE;
        }
        // Looser than gen-value: phones write '=', '/', '@', ':' and '?' unquoted.
        if b > 0x20 && b != 0x7f && !in_set(b, b";,\"<>") {
            class |= PARAM_VALUE;
        }
        // Looser than `user`: '#' of dial strings and unescaped UTF-8 are common.
        if b > 0x20 && b != 0x7f && !in_set(b, b"<>\"@") {
            class |= USER;
        }
        if alphanumeric || in_set(b, b"-._") {
            class |= HOST;
        }
        table[i] = class;
        i += 1;
    }
    table
}

const fn in_set(b: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == b {
            return true;
        }
        i += 1;
    }
    false
}

#[inline]
fn is(b: u8, class: u8) -> bool {
    CLASS[usize::from(b)] & class != 0
}

#[inline]
pub fn is_token_byte(b: u8) -> bool {
    is(b, TOKEN)
}

#[inline]
pub(super) fn is_space(b: u8) -> bool {
    is(b, SPACE)
}

pub(super) fn is_host_byte(b: u8) -> bool {
    is(b, HOST)
}

pub(super) fn is_user(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| is(*b, USER))
}

/// Whether `bytes` is a token: one or more of its characters.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is(*b, TOKEN))
}

/// `bytes` without white space and line folds at its ends.
#[inline]
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is(*first, SPACE)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is(*last, SPACE)
    {
        bytes = rest;
    }
    bytes
}

/// The first position from `at` that is not white space.
#[inline]
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is(bytes[at], SPACE) {
        at += 1;
    }
    at
}

#[inline]
pub(super) fn skip_token(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is(bytes[at], TOKEN) {
        at += 1;
    }
    at
}

#[inline]
fn skip_param_value(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is(bytes[at], PARAM_VALUE) {
        at += 1;
    }
    at
}

/// Given the position of an opening quote, the position after the closing one.
pub(super) fn skip_quoted(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while let Some(b) = bytes.get(at) {
        match b {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Decimal digits and nothing else; None when empty, with other characters, or above `u32::MAX`.
#[inline]
pub fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() {
        return None;
    }
    let mut value: u32 = 0;
    for b in bytes {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    Some(value)
}

/// The inside of a quoted string with its escapes resolved; a value without quotes as it is.
pub fn unquote(bytes: &[u8]) -> Cow<'_, [u8]> {
    let inner = match bytes {
        [b'"', inner @ .., b'"'] => inner,
        _ => return Cow::Borrowed(bytes),
    };
    unescape(inner)
}

/// `quoted-pair`s (`\x`) resolved.
pub(super) fn unescape(inner: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(*b),
        }
    }
    Cow::Owned(out)
}

/// `%hh` escapes resolved (RFC 3986 §2.1); what is not an escape stays.
pub fn percent_decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| hex_pair(bytes.get(at + 1..at + 3)?)).flatten();
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let [high, low] = pair else { return None };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

pub(super) fn hex_digit(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

/// A folded value on one line: each line end with the white space around it becomes one space (RFC 3261 §7.3.1).
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        if is(value[at], SPACE) {
            let end = skip_space(value, at);
            match memchr::memchr2(b'\r', b'\n', &value[at..end]) {
                Some(_) => out.push(b' '),
                None => out.extend_from_slice(&value[at..end]),
            }
            at = end;
        } else {
            out.push(value[at]);
            at += 1;
        }
    }
    Cow::Owned(out)
}

/// The elements of a comma separated list, trimmed; commas in quoted strings and in `<>` do not separate. Empty elements
/// are skipped.
#[derive(Clone)]
pub struct List<'a> {
    rest: &'a [u8],
}

impl<'a> List<'a> {
    pub fn new(value: &'a [u8]) -> List<'a> {
        List { rest: value }
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (element, rest) = match element_end(self.rest) {
                Some(comma) => (&self.rest[..comma], &self.rest[comma + 1..]),
                None => (self.rest, &self.rest[..0]),
            };
            self.rest = rest;
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Where the comma is that ends the first element.
fn element_end(value: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr3(b',', b'"', b'<', value.get(at..)?)?;
        match value[at] {
            b',' => return Some(at),
            b'"' => at = skip_quoted(value, at)?,
            _ => at += memchr::memchr(b'>', &value[at..])? + 1,
        }
    }
}

/// Parameters of a header or URI as received: empty, or from the first `;` on. Checked when their owner was parsed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl std::fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.raw))
    }
}

/// One parameter; the value of a quoted one includes the quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    /// `raw` is empty or starts with `;`. A single `;` at the very end is forgiven, an empty parameter elsewhere is not.
    pub fn parse(raw: &'a [u8]) -> Result<Params<'a>, ParseError> {
        Params::visit(raw, |_| {})?;
        Ok(Params { raw })
    }

    /// Parses and shows each parameter to `see` on the way.
    pub(super) fn visit(raw: &'a [u8], mut see: impl FnMut(Param<'a>)) -> Result<Params<'a>, ParseError> {
        let mut at = 0;
        while at < raw.len() {
            let (param, next) = next_param(raw, at)?;
            if let Some(param) = param {
                see(param);
            }
            at = next;
        }
        Ok(Params { raw })
    }

    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + Clone + use<'a> {
        let raw = self.raw;
        let mut at = 0;
        std::iter::from_fn(move || {
            let (param, next) = next_param(raw, at).ok()?;
            at = next;
            param
        })
    }

    /// The parameter's value; an empty one if it has none. Names are compared without case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name.as_bytes())).map(|p| p.value.unwrap_or(b""))
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// The parameter whose `;` stands at `at`, and where the next `;` or the end is.
#[inline]
fn next_param(raw: &[u8], at: usize) -> Result<(Option<Param<'_>>, usize), ParseError> {
    if raw.get(at) != Some(&b';') {
        return Err(Problem::Params.at(at));
    }
    let name_start = skip_space(raw, at + 1);
    let name_end = skip_name(raw, name_start);
    if name_end == name_start {
        return if name_start == raw.len() { Ok((None, name_start)) } else { Err(Problem::Params.at(name_start)) };
    }
    let name = &raw[name_start..name_end];
    let after_name = skip_space(raw, name_end);
    if raw.get(after_name) != Some(&b'=') {
        return end_of_param(raw, Param { name, value: None }, after_name);
    }
    let value_start = skip_space(raw, after_name + 1);
    let value_end = if raw.get(value_start) == Some(&b'"') {
        skip_quoted(raw, value_start).ok_or(Problem::Quote.at(value_start))?
    } else {
        skip_param_value(raw, value_start)
    };
    end_of_param(raw, Param { name, value: Some(&raw[value_start..value_end]) }, skip_space(raw, value_end))
}

fn end_of_param<'a>(raw: &[u8], param: Param<'a>, at: usize) -> Result<(Option<Param<'a>>, usize), ParseError> {
    if at < raw.len() && raw[at] != b';' {
        return Err(Problem::Params.at(at));
    }
    Ok((Some(param), at))
}

/// A URI parameter's name may have more characters than a token (`paramchar`): brackets, slash, colon, ampersand, dollar.
#[inline]
fn skip_name(raw: &[u8], mut at: usize) -> usize {
    while at < raw.len() && is(raw[at], PARAM_VALUE) && raw[at] != b'=' {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> Vec<&str> {
        List::new(value.as_bytes()).map(|e| std::str::from_utf8(e).unwrap()).collect()
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_separate() {
        assert_eq!(list(r#""a, \"b" <sip:x,y@h>;q=1 , <sip:z>, ,"#), [r#""a, \"b" <sip:x,y@h>;q=1"#, "<sip:z>"]);
        assert_eq!(list(r#""open, <sip:z>"#), [r#""open, <sip:z>"#]);
        assert_eq!(list(""), [""; 0]);
    }

    #[test]
    fn parameters_with_folds_and_quotes() {
        let params = Params::parse(b" ;tag=1".trim_ascii_start()).unwrap();
        assert_eq!(params.get("TAG"), Some(&b"1"[..]));
        let params = Params::parse(b";lr ; a =\r\n b;c=\"x;\\\"y\";").unwrap();
        assert_eq!(params.get("lr"), Some(&b""[..]));
        assert_eq!(params.get("a"), Some(&b"b"[..]));
        assert_eq!(&*unquote(params.get("c").unwrap()), b"x;\"y");
        assert_eq!(params.iter().count(), 3);
        assert_eq!(Params::parse(b";;a").unwrap_err(), Problem::Params.at(1));
        assert_eq!(Params::parse(b";a b").unwrap_err(), Problem::Params.at(3));
        assert_eq!(Params::parse(b";a=\"b").unwrap_err(), Problem::Quote.at(3));
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(number(b"0068"), Some(68));
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b""), None);
    }

    #[test]
    fn folds_become_one_space() {
        assert_eq!(&*unfold(b"a \r\n\t b  c"), b"a b  c");
        assert!(matches!(unfold(b"a b"), Cow::Borrowed(_)));
    }

    #[test]
    fn percent_escapes() {
        assert_eq!(&*percent_decode(b"%6a%X1%"), b"j%X1%");
        assert_eq!(&*percent_decode(b"null-%00-"), b"null-\0-");
    }
}
