//! A table for people, in Markdown, so that BENCHMARKS.md can hold it as it is.

use std::fmt;

/// Rows of texts under headers. The first column is for words, the others for numbers.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const COLUMNS: usize>(headers: [&str; COLUMNS]) -> Self {
        Self {
            rows: vec![headers.map(str::to_owned).to_vec()],
        }
    }

    pub(crate) fn push<const COLUMNS: usize>(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row.into());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, row) in self.rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                let width = self.width(column);
                match column {
                    0 => write!(f, "| {cell:<width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                self.fmt_rule(f, row.len())?;
            }
        }
        Ok(())
    }
}

impl Table {
    fn fmt_rule(&self, f: &mut fmt::Formatter<'_>, columns: usize) -> fmt::Result {
        for column in 0..columns {
            let dashes = "-".repeat(self.width(column));
            match column {
                0 => write!(f, "|-{dashes}-|")?,
                _ => write!(f, "-{dashes}:|")?,
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["what", "ms"]);
        table.push(["hop".to_owned(), "0.10 (0.10–0.20)".to_owned()]);
        let expected = "\
| what |               ms |
|------|-----------------:|
| hop  | 0.10 (0.10–0.20) |
";
        assert_eq!(table.to_string(), expected);
    }
}
