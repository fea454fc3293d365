//! A profile as a Markdown report.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    Profile,
    column::{Kind, Summary},
};

/// Values in the report are cut to this many characters.
const MAX_SHOWN: usize = 60;

/// Renders the whole report.
pub(crate) fn render(profile: &Profile) -> String {
    let mut report = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(profile, &mut report);
    report
}

fn write_all(profile: &Profile, report: &mut String) -> std::fmt::Result {
    writeln!(report, "# Profile of {}\n", cell(&profile.name))?;
    let delimiter = match profile.delimiter {
        '\t' => "tab".to_owned(),
        delimiter => format!("`{delimiter}`"),
    };
    let header = if profile.header { "first row names the columns" } else { "no header row" };
    writeln!(
        report,
        "{} rows, {} columns, {} bytes; delimiter {delimiter}, {header}.\n",
        profile.rows, profile.column_count, profile.bytes
    )?;
    if let Some(note) = &profile.encoding_note {
        writeln!(report, "{note}\n")?;
    }
    let ragged = &profile.ragged;
    if ragged.short_rows + ragged.long_rows > 0 {
        let lines: Vec<String> = ragged.first_lines.iter().map(u64::to_string).collect();
        writeln!(
            report,
            "**Ragged:** {} rows have too few fields (counted as missing) and {} too many (left out); see lines {}.\n",
            ragged.short_rows,
            ragged.long_rows,
            lines.join(", ")
        )?;
    }
    writeln!(report, "| column | type | filled | missing | distinct | min | median | max | mean | std. dev. |")?;
    writeln!(report, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for column in &profile.columns {
        overview(column, report)?;
    }
    for column in &profile.columns {
        details(column, profile.rows, report)?;
    }
    Ok(())
}

fn overview(column: &Summary, report: &mut String) -> std::fmt::Result {
    let mut cells = vec![
        cell(&column.name),
        label(column.kind).to_owned(),
        column.count.to_string(),
        column.missing.to_string(),
        distinct(column),
    ];
    match (&column.numbers, &column.period) {
        (Some(numbers), _) => {
            let stddev = numbers.stddev.as_ref().map(short).unwrap_or_default();
            cells.extend([&numbers.min, &numbers.median, &numbers.max, &numbers.mean].map(short));
            cells.push(stddev);
        }
        (None, Some(period)) => {
            cells.extend([period.first.clone(), String::new(), period.last.clone(), String::new(), String::new()]);
        }
        (None, None) => cells.extend(std::iter::repeat_n(String::new(), 5)),
    }
    writeln!(report, "| {} |", cells.join(" | "))
}

fn details(column: &Summary, rows: u64, report: &mut String) -> std::fmt::Result {
    if column.count == 0 {
        return Ok(());
    }
    writeln!(report, "\n## {}\n", cell(&column.name))?;
    if column.nonconforming > 0 {
        writeln!(report, "{} fields are not of type {}.\n", column.nonconforming, label(column.kind))?;
    }
    if let Some(numbers) = &column.numbers {
        let how = if numbers.quartiles_exact { "" } else { " (of a random sample)" };
        writeln!(
            report,
            "Quartiles{how}: {}, {}, {}.\n",
            short(&numbers.q1),
            short(&numbers.median),
            short(&numbers.q3)
        )?;
    }
    if let Some(length) = &column.length {
        writeln!(report, "{} to {} characters long.\n", length.shortest, length.longest)?;
    }
    if column.distinct == column.count && column.distinct_exact {
        return writeln!(report, "Every value occurs once.");
    }
    let how = if column.distinct_exact { "" } else { " among the first seen" };
    writeln!(report, "| most frequent{how} | rows | share |")?;
    writeln!(report, "|---|--:|--:|")?;
    for top in &column.top_values {
        let share = top.count as f64 * 100.0 / rows as f64;
        writeln!(report, "| {} | {} | {share:.1} % |", cell(&top.value), top.count)?;
    }
    Ok(())
}

/// A number for readers: six significant digits of what is no whole number. The JSON has them all.
fn short(number: &Value) -> String {
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        Some(value) => {
            let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
            Value::from(rounded).to_string()
        }
        None => String::new(),
    }
}

fn distinct(column: &Summary) -> String {
    if column.distinct_exact { column.distinct.to_string() } else { format!("≥ {}", column.distinct) }
}

const fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Empty => "empty",
        Kind::Boolean => "boolean",
        Kind::Integer => "integer",
        Kind::Decimal => "decimal",
        Kind::Date => "date",
        Kind::DateTime => "date and time",
        Kind::Text => "text",
    }
}

/// A value as a table cell: one line, markup characters made harmless, cut to a readable length.
fn cell(value: &str) -> String {
    let mut text = String::new();
    for (number, character) in value.chars().enumerate() {
        if number == MAX_SHOWN {
            text.push('…');
            break;
        }
        match character {
            '|' | '\\' | '`' | '*' | '_' | '<' | '[' | '#' => {
                text.push('\\');
                text.push(character);
            }
            character if character.is_control() => text.push(' '),
            character => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let check = |number: f64, expect: &str| assert_eq!(short(&Value::from(number)), expect);
        check(141.0, "141");
        check(-161.094_890_511, "-161.095");
        check(0.000_012_345_678, "0.0000123457");
    }

    #[test]
    fn cells_stay_cells() {
        assert_eq!(cell("a|b\n*c*"), "a\\|b \\*c\\*");
        assert_eq!(cell(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
    }
}
