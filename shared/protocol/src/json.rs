//! Small pieces of JSON for the viewer formats, whose numbers are pinned to the
//! digit and whose objects keep the configured order.

use std::fmt::Write as _;

/// Appends Unix milliseconds as seconds: `1795358092.349`, `1795350000`.
pub(crate) fn push_seconds(out: &mut String, ms: i64) {
    let whole = ms.unsigned_abs() / 1000;
    let rest = ms.unsigned_abs() % 1000;
    let sign = if ms < 0 { "-" } else { "" };
    // Writing to a String cannot fail.
    let _ = write!(out, "{sign}{whole}");
    if rest > 0 {
        let _ = write!(out, ".{rest:03}");
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// As [`push_seconds`], and `null` for none.
pub(crate) fn push_optional_seconds(out: &mut String, ms: Option<i64>) {
    match ms {
        Some(ms) => push_seconds(out, ms),
        None => out.push_str("null"),
    }
}

/// Appends a time that always shows a fraction: `1795350000.0`.
pub(crate) fn push_clock(out: &mut String, ms: i64) {
    push_seconds(out, ms);
    if ms % 1000 == 0 {
        out.push_str(".0");
    }
}

/// As [`push_clock`], and `null` for none.
pub(crate) fn push_optional_clock(out: &mut String, ms: Option<i64>) {
    match ms {
        Some(ms) => push_clock(out, ms),
        None => out.push_str("null"),
    }
}

/// Appends a number without a needless fraction: `41`, `0.5`.
pub(crate) fn push_number(out: &mut String, number: f64) {
    if number.is_finite() {
        let _ = write!(out, "{number}");
    } else {
        out.push_str("null");
    }
}

/// Appends a text in quotes, escaped.
pub(crate) fn push_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into()));
}

/// Appends a comma unless the list or object was just opened.
pub(crate) fn push_separator(out: &mut String) {
    if !out.ends_with(['[', '{']) {
        out.push(',');
    }
}

/// Bytes as base64 with padding (RFC 4648, section 4).
pub(crate) fn push_base64(out: &mut String, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let mut padded = [0; 3];
        padded[..chunk.len()].copy_from_slice(chunk);
        let [a, b, c] = padded.map(u32::from);
        let group = a << 16 | b << 8 | c;
        for place in 0..4_usize {
            if place <= chunk.len() {
                let digit = group >> (18 - 6 * place) & 63;
                out.push(char::from(ALPHABET[digit as usize]));
            } else {
                out.push('=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        push(&mut out);
        out
    }

    #[test]
    fn times_are_exact() {
        for (ms, seconds, clock) in [
            (1_795_358_092_349, "1795358092.349", "1795358092.349"),
            (1_795_358_099_100, "1795358099.1", "1795358099.1"),
            (1_795_358_099_005, "1795358099.005", "1795358099.005"),
            (1_795_350_000_000, "1795350000", "1795350000.0"),
            (0, "0", "0.0"),
            (-1500, "-1.5", "-1.5"),
        ] {
            assert_eq!(text(|out| push_seconds(out, ms)), seconds);
            assert_eq!(text(|out| push_clock(out, ms)), clock);
        }
    }

    #[test]
    fn numbers_have_no_needless_fraction() {
        assert_eq!(text(|out| push_number(out, 41.0)), "41");
        assert_eq!(text(|out| push_number(out, 0.25)), "0.25");
        assert_eq!(text(|out| push_number(out, f64::NAN)), "null");
    }

    /// The vectors of RFC 4648, section 10.
    #[test]
    fn base64_as_in_the_rfc() {
        for (bytes, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(text(|out| push_base64(out, bytes.as_bytes())), encoded);
        }
    }
}
