//! The two forms in which every language shows a diagnosis.

use std::fmt::Write;

use super::Diagnosis;

/// The width that the table keeps to, where words allow it.
const WIDTH: usize = 110;

impl Diagnosis {
    /// A table for people: one line per check, then what to do about those that do not work.
    pub fn to_table(&self) -> String {
        let name_width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut table = String::new();
        for check in &self.checks {
            let head = format!("{:name_width$}  {:8}  ", check.name, check.status.name());
            paragraph(&mut table, &head, &check.detail);
            if !check.fix.is_empty() {
                paragraph(&mut table, &" ".repeat(head.len()), &format!("fix: {}", check.fix));
            }
        }
        let verdict = match self.can_make_sandboxes() {
            true => "This host can make sandboxes.",
            false => "This host cannot make sandboxes.",
        };
        let _ = writeln!(table, "\n{verdict}");
        table
    }

    /// One JSON object: `version`, `can_make_sandboxes`, and `checks` with `name`, `status`, `detail` and `fix`.
    pub fn to_json(&self) -> String {
        let checks: Vec<String> = self
            .checks
            .iter()
            .map(|check| {
                format!(
                    "    {{\"name\": {}, \"status\": {}, \"detail\": {}, \"fix\": {}}}",
                    quote(check.name),
                    quote(check.status.name()),
                    quote(&check.detail),
                    quote(&check.fix),
                )
            })
            .collect();
        format!(
            "{{\n  \"version\": {},\n  \"can_make_sandboxes\": {},\n  \"checks\": [\n{}\n  ]\n}}\n",
            quote(env!("CARGO_PKG_VERSION")),
            self.can_make_sandboxes(),
            checks.join(",\n"),
        )
    }
}

/// Appends `text` behind `head`, in lines that are indented as far as `head` is wide.
fn paragraph(table: &mut String, head: &str, text: &str) {
    let indent = head.chars().count();
    let room = WIDTH.saturating_sub(indent).max(40);
    let mut line = String::new();
    let mut lines = Vec::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        // Paths of the host may be in it, and the table goes to a terminal.
        line.extend(word.chars().map(|c| if c.is_control() { '?' } else { c }));
    }
    lines.push(line);
    for (number, line) in lines.iter().enumerate() {
        let start = if number == 0 { head.to_owned() } else { " ".repeat(indent) };
        let _ = writeln!(table, "{}", format!("{start}{line}").trim_end());
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::Check;
    use super::*;

    fn diagnosis() -> Diagnosis {
        Diagnosis {
            checks: vec![
                Check::works("kernel", "6.1"),
                Check::degraded("swap", "a \"quoted\"\\\n\u{1b}[31m path", &*"long ".repeat(40)),
                Check::missing("sandbox", "no", "yes"),
            ],
        }
    }

    #[test]
    fn the_table_is_aligned_wrapped_and_says_what_to_do() {
        let table = diagnosis().to_table();
        assert!(table.starts_with("kernel   works     6.1\nswap     degraded  a \"quoted\"\\ ?[31m path\n"));
        assert!(table.contains("\n                   fix: long"));
        assert!(table.lines().all(|line| line.len() <= WIDTH));
        assert!(table.ends_with("\n\nThis host cannot make sandboxes.\n"));
    }

    #[test]
    fn the_json_is_escaped() {
        let json = diagnosis().to_json();
        assert!(json.contains(r#""detail": "a \"quoted\"\\\u000a\u001b[31m path""#), "{json}");
        assert!(json.contains("\"can_make_sandboxes\": false"));
    }
}
