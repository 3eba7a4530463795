//! Tables for people.

/// Lines of text in columns that are as wide as they must be; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let line: String = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                let cell: String =
                    cell.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
                format!("{cell:width$}  ")
            })
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// At most `limit` characters of a text.
pub(crate) fn short(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A time in the largest unit that has a whole number of it.
pub(crate) fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A size in the largest unit that fits without a rest.
pub(crate) fn size(bytes: u64) -> String {
    match bytes >> 20 {
        mib if mib != 0 && mib.is_multiple_of(1024) => format!("{}G", mib >> 10),
        mib => format!("{mib}M"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_stay_on_their_line() {
        let rows = [["NAME", "X"], ["ä", "long\ncell"], ["", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "NAME  X\nä     long cell\n\n");
    }

    #[test]
    fn times_and_sizes_are_short() {
        assert_eq!([59, 60, 7199, 86_400 * 3].map(time), ["59s", "1m", "1h", "3d"]);
        assert_eq!([512 << 20, 2 << 30, 1025 << 20, 0].map(size), ["512M", "2G", "1025M", "0M"]);
        assert_eq!([short("abc", 3), short("äbcd", 3)], ["abc", "äb…"]);
    }
}
