//! Finding the description in a message body, which may be multipart (RFC 2046 §5.1, RFC 5621).

use memchr::memmem;

/// Parts of a multipart body looked at; nobody needs more.
const PARTS: usize = 16;

/// The SDP of a body with that Content-Type: the body itself, or the first `application/sdp` part of a multipart one.
/// None when there is none.
pub fn find<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    let media_type = media_type(content_type);
    if media_type.eq_ignore_ascii_case(b"application/sdp") {
        return Some(body);
    }
    if !media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
        return None;
    }
    parts(boundary(content_type)?, body).take(PARTS).find_map(sdp_part)
}

fn media_type(content_type: &[u8]) -> &[u8] {
    let end = content_type.iter().position(|b| *b == b';').unwrap_or(content_type.len());
    content_type[..end].trim_ascii()
}

fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let value = content_type.split(|b| *b == b';').skip(1).find_map(|parameter| {
        let at = parameter.iter().position(|b| *b == b'=')?;
        parameter[..at].trim_ascii().eq_ignore_ascii_case(b"boundary").then(|| parameter[at + 1..].trim_ascii())
    })?;
    let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    (!value.is_empty() && value.len() <= 70).then_some(value)
}

/// What stands between the delimiter lines.
fn parts<'a>(boundary: &[u8], body: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = [b"--", boundary].concat();
    let mut rest = next_delimiter(body, &delimiter).map(|(_, after)| after);
    std::iter::from_fn(move || {
        let current = rest.take()?;
        if current.starts_with(b"--") {
            return None;
        }
        let (end, after) = next_delimiter(current, &delimiter).unwrap_or((current.len(), b"--"));
        rest = Some(after);
        Some(&current[..end])
    })
}

/// Where the next delimiter line starts, and what follows it. A delimiter stands at the start of a line.
fn next_delimiter<'a>(text: &'a [u8], delimiter: &[u8]) -> Option<(usize, &'a [u8])> {
    let mut from = 0;
    while let Some(found) = memmem::find(&text[from..], delimiter) {
        let at = from + found;
        if at == 0 || text[at - 1] == b'\n' {
            return Some((at, &text[at + delimiter.len()..]));
        }
        from = at + 1;
    }
    None
}

fn sdp_part(part: &[u8]) -> Option<&[u8]> {
    // The rest of the delimiter line.
    let start = part.iter().position(|b| *b == b'\n')? + 1;
    let part = &part[start..];
    let (headers, content) = match (memmem::find(part, b"\r\n\r\n"), memmem::find(part, b"\n\n")) {
        (Some(crlf), lf) if lf.is_none_or(|lf| crlf < lf) => (&part[..crlf], &part[crlf + 4..]),
        (_, Some(lf)) => (&part[..lf], &part[lf + 2..]),
        _ => return None,
    };
    let content_type = headers.split(|b| *b == b'\n').find_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = line[..colon].trim_ascii();
        (name.eq_ignore_ascii_case(b"Content-Type") || name.eq_ignore_ascii_case(b"c")).then(|| &line[colon + 1..])
    })?;
    media_type(content_type).eq_ignore_ascii_case(b"application/sdp").then_some(content)
}
