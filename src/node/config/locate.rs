//! Finds where a YAML file says a key: enough of YAML's block style for configuration files people write. Where it can't
//! tell (flow style), it gives the place of the nearest key above.

/// Line and column, from 1, of the key at `path` such as `sip.listen[1].advertise`.
pub(super) fn find(text: &str, path: &str) -> Option<(usize, usize)> {
    let mut steps: Vec<Step> = Vec::new();
    for part in path.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        steps.push(Step::Key(name));
        if let Some(index) = index {
            steps.push(Step::Item(index));
        }
    }
    let lines: Vec<Line<'_>> = text.lines().enumerate().flat_map(|(at, line)| Line::of(at + 1, line)).collect();
    let mut range = 0..lines.len();
    let mut best = None;
    for step in steps {
        let Some(found) = step.within(&lines, range.clone()) else { break };
        best = Some((lines[found].number, lines[found].column));
        let end = lines[found + 1..range.end].iter().position(|line| line.column <= lines[found].column);
        range = found + 1..end.map_or(range.end, |end| found + 1 + end);
    }
    best
}

enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// One key or one dash, at its column.
struct Line<'a> {
    number: usize,
    column: usize,
    key: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// `- key: value` is two: the dash, and the key behind it.
    fn of(number: usize, line: &'a str) -> Vec<Line<'a>> {
        let mut found = Vec::new();
        let mut rest = line.trim_start();
        let mut column = line.len() - rest.len() + 1;
        while let Some(behind) = rest.strip_prefix('-').filter(|behind| behind.is_empty() || behind.starts_with(' ')) {
            found.push(Line { number, column, key: None });
            let next = behind.trim_start();
            column += rest.len() - next.len();
            rest = next;
        }
        if !rest.starts_with('#')
            && let Some((key, _)) = rest.split_once(':')
        {
            found.push(Line { number, column, key: Some(key.trim_matches(['"', '\''])) });
        }
        found
    }
}

impl Step<'_> {
    fn within(&self, lines: &[Line<'_>], range: std::ops::Range<usize>) -> Option<usize> {
        let level = lines[range.clone()].first()?.column;
        let mut here = range.filter(|at| lines[*at].column == level);
        match self {
            Step::Key(name) => here.find(|at| lines[*at].key == Some(*name)),
            Step::Item(index) => here.filter(|at| lines[*at].key.is_none()).nth(*index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    const TEXT: &str = "# a comment: not a key\nsip:\n  listen:\n    - address: a\n    - address: b\n      tenant: c\nrtp: {ports: x}\n";

    #[test]
    fn keys_and_items_are_found_where_they_stand() {
        assert_eq!(find(TEXT, "sip"), Some((2, 1)));
        assert_eq!(find(TEXT, "sip.listen[0].address"), Some((4, 7)));
        assert_eq!(find(TEXT, "sip.listen[1].tenant"), Some((6, 7)));
        assert_eq!(find(TEXT, "sip.listen[1].advertise"), Some((5, 5)));
        assert_eq!(find(TEXT, "rtp.ports"), Some((7, 1)));
        assert_eq!(find(TEXT, "http"), None);
    }
}
