//! A ladder's file: comments and blank lines, steps at the line's start, `+ Header: value` and `- Header` under a step that
//! is to say more or less than usual, and, indented by four, what happened.

pub struct Script {
    pub steps: Vec<Step>,
    /// What follows the last step's expectation.
    pub rest: String,
}

#[derive(Clone)]
pub struct Step {
    /// Line number in the file, from 1.
    pub line: usize,
    /// The step as written, with the comments before it and the headers below it.
    pub text: String,
    pub words: Vec<String>,
    /// What follows `|`.
    pub sdp: Option<String>,
    pub headers: Vec<Edit>,
}

#[derive(Clone)]
pub enum Edit {
    Add(String, String),
    Remove(String),
}

impl Script {
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut steps: Vec<Step> = Vec::new();
        let mut before = String::new();
        for (at, line) in text.lines().enumerate() {
            if line.starts_with("    ") {
                continue;
            }
            if let Some(edit) = line.strip_prefix("  ") {
                let step = steps.last_mut().ok_or("a header before any step")?;
                step.headers.push(Edit::parse(edit).ok_or_else(|| format!("line {}: no header", at + 1))?);
                step.text.push_str(&format!("{line}\n"));
            } else if line.is_empty() || line.starts_with('#') {
                before.push_str(&format!("{line}\n"));
            } else {
                let (words, sdp) = line.split_once(" | ").map_or((line, None), |(w, s)| (w, Some(s.to_owned())));
                steps.push(Step {
                    line: at + 1,
                    text: format!("{}{line}\n", std::mem::take(&mut before)),
                    words: words.split_whitespace().map(str::to_owned).collect(),
                    sdp,
                    headers: Vec::new(),
                });
            }
        }
        Ok(Script { steps, rest: before })
    }
}

impl Edit {
    fn parse(text: &str) -> Option<Edit> {
        if let Some(header) = text.strip_prefix("+ ") {
            let (name, value) = header.split_once(':')?;
            return Some(Edit::Add(name.trim().to_owned(), value.trim().to_owned()));
        }
        Some(Edit::Remove(text.strip_prefix("- ")?.trim().to_owned()))
    }
}

impl Step {
    /// The value of `tag=`.
    pub fn tag(&self) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix("tag="))
    }

    pub fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str).filter(|word| !word.starts_with("tag="))
    }
}
